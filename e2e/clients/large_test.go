package clients_test

// large are transfers that take more than one buffer anywhere.
var large = map[string]unmodified{
	"an upload that waits for 100 Continue": {
		script: `head -c 52428800 /dev/zero | curl -sS --fail-with-body --http1.1 -H 'Expect: 100-continue' -T - https://web.REALM.test/upload`,
		prints: `got 52428800 bytes`, shows: told, untold: `CONNECT tunnel failed, response 403`,
	},
	"an upload over HTTP/2": {
		script: `head -c 52428800 /dev/zero > body && curl -sS --fail-with-body --http2 -T body https://web.REALM.test/upload`,
		prints: `got 52428800 bytes`, shows: told + `|Stream error in the HTTP/2 framing layer`, untold: `CONNECT tunnel failed, response 403`,
	},
	"a download": {
		script: `curl -sS --fail-with-body https://web.REALM.test/download/104857600 > body || { cat body; exit 1; }; wc -c < body`,
		prints: `104857600`, shows: told, untold: `CONNECT tunnel failed, response 403`,
	},
}
