#!/bin/sh
# Cuts one of three gateways off from the control plane, revokes a mandate, and shows that no gateway lets it through once
# the receipt says "enforced". Start `bin/caracal dev --gateways 3` in another terminal first.
set -eu
cd "$(dirname "$0")/.."
. .caracal/dev.env
caracal=bin/caracal
first=${CARACAL_GATEWAY_URL##*:}

# call GATEWAY: one request by the mandate through a gateway; prints the status and, where it is denied, why.
call() {
  curl -s -o .caracal/answer -w '%{http_code}' "http://127.0.0.1:$((first + $1 - 1))/api/proxy" \
    -H "Authorization: Bearer $CARACAL_AGENT_JWT" -H "X-Caracal-Mandate: $mandate" \
    -H "X-Caracal-Target-URL: $CARACAL_UPSTREAM_URL/v1/models"
  sed -n 's/.*"error": *"\([a-z_]*\)".*/ \1/p' .caracal/answer | head -n 1 | grep . || echo
}
everywhere() {
  for gateway in 1 2 3; do printf '  gateway %s: %s\n' "$gateway" "$(call $gateway)"; done
}
trap '$caracal dev mend 3 > /dev/null; $caracal workspace update "$CARACAL_WORKSPACE" --lease 60s > /dev/null; rm -f .caracal/answer' EXIT

# Leases of ten seconds in place of a minute, so that nobody waits for long. A gateway gets one at its next renewal, and says
# at the one after, three seconds later, that it holds it.
echo "asking for leases of ten seconds, which takes up to half a minute:"
$caracal workspace update "$CARACAL_WORKSPACE" --lease 10s > /dev/null
until $caracal gateway show gateway-3 --output json | grep -q '"term_seconds": 10,'; do sleep 0.5; done
sleep 4

mandate=$($caracal mandate issue --issuer "$CARACAL_ISSUER_ID" --subject "$CARACAL_AGENT_ID" \
  --resource 'api:echo/*' --action read --validity 1h --output json | sed -n 's/^ *"mandate_id": *"\([^"]*\)".*/\1/p')
echo "mandate $mandate, through each gateway:"
everywhere

$caracal dev cut 3
echo "revoked at the control plane; gateways 1 and 2 confirm at once, gateway 3 cannot:"
$caracal mandate revoke "$mandate" --wait 1s || true
everywhere

echo "waiting until gateway 3 must have ended by itself, which takes as long as its lease:"
$caracal mandate revoke "$mandate" --wait 2m
everywhere

$caracal dev mend 3
until [ "$(call 3)" = "403 mandate_revoked" ]; do sleep 0.2; done
echo "it is back, has caught up, and has a lease again:"
everywhere
