package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

func TestAnAccessTokenSaysWhatWasSigned(t *testing.T) {
	w := newWorld()
	want := w.newAccess()
	got, err := w.set.VerifyAccess(w.signAccess(t, want), epoch.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-signed +verified)\n%s", diff)
	}
}

// refusal is an access token that must not pass, and the reason it must be refused for.
type refusal struct {
	jws  string
	now  time.Time // epoch when zero
	want error
}

func refusals(w world) map[string]refusal {
	claims := func(change string) string {
		base := fmt.Sprintf(`{"iss":%q,"aud":"%s/token","sub":%q,"jti":"tok1","iat":%d,"exp":%d}`,
			deployment, w.set.Workspace, "prn_aaaaaaaaaaaaaaaaaaaaaaaaaa", epoch.Unix(), epoch.Unix()+900)
		if change == "" {
			return base
		}
		old, replacement, _ := strings.Cut(change, " → ")
		changed := strings.Replace(base, old, replacement, 1)
		if changed == base {
			panic("nothing to change: " + old)
		}
		return changed
	}
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-access+jwt"}`, w.access.ID)
	with := func(member string) string { return strings.TrimSuffix(header, "}") + "," + member + "}" }
	kid := func(id string) string { return strings.Replace(header, w.access.ID, id, 1) }
	exp := func(value string) string { return fmt.Sprintf(`"exp":%d → "exp":%s`, epoch.Unix()+900, value) }
	good := forge(w.access, header, claims(""))
	parts := strings.Split(good, ".")
	none := strings.Replace(header, "EdDSA", "none", 1)
	hs256 := strings.Replace(header, "EdDSA", "HS256", 1)
	stranger := newWorld()

	return map[string]refusal{
		"nothing":                           {jws: "", want: token.ErrMalformed},
		"dots":                              {jws: "..", want: token.ErrMalformed},
		"a megabyte of dots":                {jws: strings.Repeat(".", 1<<20), want: token.ErrTooLarge},
		"one byte more than is read":        {jws: strings.Repeat("a", token.MaxAccess+1), want: token.ErrTooLarge},
		"a nested JWE of five parts":        {jws: good + ".AAAA.AAAA", want: token.ErrMalformed},
		"a line break within":               {jws: good[:40] + "\n" + good[40:], want: token.ErrMalformed},
		"a space before":                    {jws: " " + good, want: token.ErrMalformed},
		"padding":                           {jws: good + "==", want: token.ErrMalformed},
		"the signature's other spelling":    {jws: good[:len(good)-1] + otherSpelling(good), want: token.ErrMalformed},
		"no signature":                      {jws: parts[0] + "." + parts[1] + ".", want: token.ErrMalformed},
		"a signature of another length":     {jws: good + "AAAA", want: token.ErrMalformed},
		"a signature of zeros":              {jws: parts[0] + "." + parts[1] + "." + segment(strings.Repeat("\x00", 64)), want: token.ErrSignature},
		"another payload, same signature":   {jws: parts[0] + "." + segment(claims(`tok1 → tok2`)) + "." + parts[2], want: token.ErrSignature},
		"alg none without a signature":      {jws: segment(none) + "." + parts[1] + ".", want: token.ErrMalformed},
		"alg none with a signature":         {jws: forge(w.access, none, claims("")), want: token.ErrAlgorithm},
		"HMAC with the public key":          {jws: hmacWithPublicKey(w, hs256, claims("")), want: token.ErrMalformed},
		"alg HS256 with a signature":        {jws: forge(w.access, hs256, claims("")), want: token.ErrAlgorithm},
		"alg in another case":               {jws: forge(w.access, strings.Replace(header, "EdDSA", "eddsa", 1), claims("")), want: token.ErrAlgorithm},
		"no alg":                            {jws: forge(w.access, strings.Replace(header, `"alg":"EdDSA",`, "", 1), claims("")), want: token.ErrHeader},
		"no kid":                            {jws: forge(w.access, strings.Replace(header, `"kid":"`+w.access.ID+`",`, "", 1), claims("")), want: token.ErrHeader},
		"an empty kid":                      {jws: forge(w.access, kid(""), claims("")), want: token.ErrHeader},
		"a number as kid":                   {jws: forge(w.access, strings.Replace(header, `"`+w.access.ID+`"`, "7", 1), claims("")), want: token.ErrHeader},
		"a path as kid":                     {jws: forge(w.access, kid("../../dev/null"), claims("")), want: token.ErrUnknownKey},
		"SQL as kid":                        {jws: forge(w.access, kid("' OR 1=1 --"), claims("")), want: token.ErrUnknownKey},
		"a URL as kid":                      {jws: forge(w.access, kid("https://attacker.example/key"), claims("")), want: token.ErrUnknownKey},
		"the key of another purpose":        {jws: forge(w.mandate, kid(w.mandate.ID), claims("")), want: token.ErrUnknownKey},
		"the key of another workspace":      {jws: forge(stranger.access, kid(stranger.access.ID), claims("")), want: token.ErrUnknownKey},
		"another key under this kid":        {jws: forge(stranger.access, header, claims("")), want: token.ErrSignature},
		"jku":                               {jws: forge(w.access, with(`"jku":"https://attacker.example/jwks"`), claims("")), want: token.ErrHeader},
		"x5u":                               {jws: forge(w.access, with(`"x5u":"https://attacker.example/cert"`), claims("")), want: token.ErrHeader},
		"jwk":                               {jws: forge(w.access, with(`"jwk":{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`), claims("")), want: token.ErrHeader},
		"crit":                              {jws: forge(w.access, with(`"crit":["exp"]`), claims("")), want: token.ErrHeader},
		"b64 false":                         {jws: forge(w.access, with(`"b64":false`), claims("")), want: token.ErrHeader},
		"a member of the header twice":      {jws: forge(w.access, with(`"kid":"`+w.access.ID+`"`), claims("")), want: token.ErrHeader},
		"a member in another case":          {jws: forge(w.access, with(`"Alg":"none"`), claims("")), want: token.ErrHeader},
		"text after the header":             {jws: forge(w.access, header+"{}", claims("")), want: token.ErrHeader},
		"a header that is a list":           {jws: forge(w.access, "[]", claims("")), want: token.ErrHeader},
		"a header that is null":             {jws: forge(w.access, "null", claims("")), want: token.ErrHeader},
		"no typ":                            {jws: forge(w.access, strings.Replace(header, `,"typ":"caracal-access+jwt"`, "", 1), claims("")), want: token.ErrHeader},
		"typ JWT":                           {jws: forge(w.access, strings.Replace(header, "caracal-access+jwt", "JWT", 1), claims("")), want: token.ErrType},
		"the typ of a mandate":              {jws: forge(w.access, strings.Replace(header, "access", "mandate", 1), claims("")), want: token.ErrType},
		"a payload that is no JSON":         {jws: forge(w.access, header, "sub=me"), want: token.ErrClaims},
		"a payload that is a list":          {jws: forge(w.access, header, "[1]"), want: token.ErrClaims},
		"a payload that is not UTF-8":       {jws: forge(w.access, header, claims("tok1 → \xff")), want: token.ErrClaims},
		"a payload nested without end":      {jws: forge(w.access, header, claims(`{"iss" → {"deep":`+strings.Repeat("[", 300)+strings.Repeat("]", 300)+`,"iss"`)), want: token.ErrClaims},
		"sub twice":                         {jws: forge(w.access, header, claims(`{"iss" → {"sub":"prn_x","iss"`)), want: token.ErrClaims},
		"a nested member twice":             {jws: forge(w.access, header, claims(`{"iss" → {"act":{"a":1,"a":2},"iss"`)), want: token.ErrClaims},
		"exp as a text":                     {jws: forge(w.access, header, claims(exp(`"9999999999"`))), want: token.ErrClaims},
		"exp as 1e400":                      {jws: forge(w.access, header, claims(exp("1e400"))), want: token.ErrClaims},
		"exp as 2e9":                        {jws: forge(w.access, header, claims(exp("2e9"))), want: token.ErrClaims},
		"exp with a fraction":               {jws: forge(w.access, header, claims(exp("9999999999.0"))), want: token.ErrClaims},
		"exp below zero":                    {jws: forge(w.access, header, claims(exp("-1"))), want: token.ErrClaims},
		"exp past all time":                 {jws: forge(w.access, header, claims(exp("9223372036854775807"))), want: token.ErrClaims},
		"exp null":                          {jws: forge(w.access, header, claims(exp("null"))), want: token.ErrClaims},
		"no exp":                            {jws: forge(w.access, header, claims(fmt.Sprintf(`,"exp":%d → `, epoch.Unix()+900))), want: token.ErrClaims},
		"EXP for exp":                       {jws: forge(w.access, header, claims(`"exp" → "EXP"`)), want: token.ErrClaims},
		"no iat":                            {jws: forge(w.access, header, claims(fmt.Sprintf(`"iat":%d, → `, epoch.Unix()))), want: token.ErrClaims},
		"nbf as a text":                     {jws: forge(w.access, header, claims(`"jti" → "nbf":"1","jti"`)), want: token.ErrClaims},
		"no jti":                            {jws: forge(w.access, header, claims(`"jti":"tok1", → `)), want: token.ErrClaims},
		"a sub that is no principal":        {jws: forge(w.access, header, claims(`"sub":"prn_ → "sub":"ws_`)), want: token.ErrClaims},
		"aud as a list":                     {jws: forge(w.access, header, claims(fmt.Sprintf(`"%s/token" → ["%s/token"]`, w.set.Workspace, w.set.Workspace))), want: token.ErrClaims},
		"no aud":                            {jws: forge(w.access, header, claims(fmt.Sprintf(`"aud":"%s/token", → `, w.set.Workspace))), want: token.ErrClaims},
		"the audience of another purpose":   {jws: forge(w.access, header, claims(`/token → /mandate`)), want: token.ErrAudience},
		"the audience of another workspace": {jws: forge(w.access, header, claims(string(w.set.Workspace)+" → "+string(stranger.set.Workspace))), want: token.ErrAudience},
		"another deployment":                {jws: forge(w.access, header, claims(deployment+" → dep_other")), want: token.ErrIssuer},
		"its last instant":                  {jws: good, now: epoch.Add(15 * time.Minute), want: token.ErrExpired},
		"expired, by less than a skew":      {jws: good, now: epoch.Add(15*time.Minute + time.Millisecond), want: token.ErrExpired},
		"issued in the future":              {jws: good, now: epoch.Add(-time.Minute), want: token.ErrNotYetValid},
		"nbf in the future":                 {jws: forge(w.access, header, claims(fmt.Sprintf(`"jti" → "nbf":%d,"jti"`, epoch.Unix()+60))), want: token.ErrNotYetValid},
		"issued before its key signed":      {jws: forge(w.access, header, claims(fmt.Sprintf(`"iat":%d → "iat":%d`, epoch.Unix(), epoch.Unix()-7200))), want: token.ErrKeyPeriod},
		"used before its key signs":         {jws: good, now: epoch.Add(-2 * time.Hour), want: token.ErrKeyPeriod},
		"used when its key has retired":     {jws: good, now: epoch.Add(24 * time.Hour), want: token.ErrKeyPeriod},
	}
}

// otherSpelling is another last character that a lax decoder reads as the same bits.
func otherSpelling(jws string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, jws[len(jws)-1])+1])
}

// hmacWithPublicKey takes the public key for a shared secret.
func hmacWithPublicKey(w world, header, payload string) string {
	input := segment(header) + "." + segment(payload)
	mac := hmac.New(sha256.New, w.access.Public().PublicKey)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestAnAccessTokenIsRefusedFor(t *testing.T) {
	w := newWorld()
	for name, test := range refusals(w) {
		t.Run(name, func(t *testing.T) {
			now := test.now
			if now.IsZero() {
				now = epoch
			}
			access, err := w.set.VerifyAccess(test.jws, now)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if access != (token.Access{}) {
				t.Errorf("refused, and yet it says %+v", access)
			}
			if len(err.Error()) > 200 {
				t.Errorf("the error repeats what it was given: %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAnAccessTokenPassesWith(t *testing.T) {
	w := newWorld()
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-access+jwt"}`, w.access.ID)
	claims := fmt.Sprintf(`{"iss":%q,"aud":"%s/token","sub":%q,"jti":"tok1","iat":%d,"exp":%d}`,
		deployment, w.set.Workspace, authority.NewID[authority.PrincipalID](), epoch.Unix(), epoch.Unix()+900)
	for name, test := range map[string]struct {
		claims string
		now    time.Time
	}{
		"just what is needed":                      {claims, epoch},
		"its last moment":                          {claims, epoch.Add(15*time.Minute - time.Nanosecond)},
		"a verifier whose clock is a bit behind":   {claims, epoch.Add(-time.Second)},
		"a claim that a later version may add":     {strings.Replace(claims, `{`, `{"later":{"x":[1,2]},`, 1), epoch},
		"a not-before that has passed":             {strings.Replace(claims, `{`, fmt.Sprintf(`{"nbf":%d,`, epoch.Unix()), 1), epoch},
		"a claim that differs from another's case": {strings.Replace(claims, `{`, `{"Sub":"prn_x",`, 1), epoch},
	} {
		t.Run(name, func(t *testing.T) {
			access, err := w.set.VerifyAccess(forge(w.access, header, test.claims), test.now)
			if err != nil {
				t.Fatal(err)
			}
			if access.ID != "tok1" || access.Subject == "prn_x" {
				t.Errorf("got %+v", access)
			}
		})
	}
}

func TestAnAccessTokenIsNotSigned(t *testing.T) {
	w := newWorld()
	late, large := w.newAccess(), w.newAccess()
	late.IssuedAt = epoch.Add(24 * time.Hour)
	large.ID = strings.Repeat("x", token.MaxAccess)
	for name, test := range map[string]struct {
		key    token.SigningKey
		access token.Access
		want   error
	}{
		"by a key of another purpose": {w.mandate, w.newAccess(), token.ErrUnknownKey},
		"by a key that has retired":   {w.access, late, token.ErrKeyPeriod},
		"when nobody could read it":   {w.access, large, token.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if jws, err := token.SignAccess(test.key, test.access); !errors.Is(err, test.want) || jws != "" {
				t.Errorf("signed %d bytes, error %v, want %v", len(jws), err, test.want)
			}
		})
	}
}

func TestNoByteOfAnAccessTokenCanBeChanged(t *testing.T) {
	w := newWorld()
	jws := w.signAccess(t, w.newAccess())
	rapid.Check(t, func(t *rapid.T) {
		changed := []byte(jws)
		at := rapid.IntRange(0, len(jws)-1).Draw(t, "at")
		changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		if _, err := w.set.VerifyAccess(string(changed), epoch); err == nil {
			t.Fatalf("byte %d changed from %q to %q, and it verifies", at, jws[at], changed[at])
		}
	})
}

// FuzzAccess tries a whole token, and the claims of one that the right key has signed.
func FuzzAccess(f *testing.F) {
	w := fixedWorld(f)
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-access+jwt"}`, w.access.ID)
	genuine := map[string]bool{}
	for _, test := range refusals(w) {
		if len(test.jws) > token.MaxAccess {
			continue
		}
		genuine[test.jws] = !test.now.IsZero()
		claims := ""
		if parts := strings.Split(test.jws, "."); len(parts) == 3 {
			decoded, _ := base64.RawURLEncoding.DecodeString(parts[1]) // what does not decode is a seed as good as any
			claims = string(decoded)
		}
		f.Add(test.jws, claims)
	}
	f.Fuzz(func(t *testing.T, jws, claims string) {
		if _, err := w.set.VerifyAccess(jws, epoch); err == nil && !genuine[jws] {
			t.Errorf("accepted what nobody signed: %q", jws)
		}
		access, err := w.set.VerifyAccess(forge(w.access, header, claims), epoch)
		if err != nil {
			return
		}
		if _, err := authority.ParseID[authority.PrincipalID](string(access.Subject)); err != nil || !epoch.Before(access.ExpiresAt) {
			t.Errorf("accepted the claims %q as %+v", claims, access)
		}
	})
}

func BenchmarkVerifyAccess(b *testing.B) {
	w := newWorld()
	jws, err := token.SignAccess(w.access, w.newAccess())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.set.VerifyAccess(jws, epoch); err != nil {
			b.Fatal(err)
		}
	}
}
