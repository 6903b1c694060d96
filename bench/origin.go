package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"

	"github.com/caracal-gateway/caracal/internal/pki"
)

// origin are the upstreams: one in plain text, one over TLS. They answer `ok`, and below /bytes/ with so many bytes.
type origin struct {
	ca            *pki.CA
	chain, key    []byte // for any host of the bench
	roots         *x509.CertPool
	plain, secure *httptest.Server
}

func newOrigin() (*origin, error) {
	o := &origin{ca: pki.New(must{}), roots: x509.NewCertPool()}
	o.roots.AppendCertsFromPEM([]byte(o.ca.PEM()))
	o.chain, o.key = o.ca.Server(must{}, pki.DNS("*.bench.test"))
	certificate, err := tls.X509KeyPair(o.chain, o.key)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/bytes/{count}", sendBytes)
	o.plain = httptest.NewServer(mux)
	o.secure = httptest.NewUnstartedServer(mux)
	o.secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	o.secure.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that are cut on purpose
	o.secure.StartTLS()
	return o, nil
}

func (o *origin) close() {
	for _, s := range []*httptest.Server{o.plain, o.secure} {
		s.CloseClientConnections()
		s.Close()
	}
}

func sendBytes(w http.ResponseWriter, r *http.Request) {
	count, err := strconv.ParseInt(r.PathValue("count"), 10, 64)
	if err != nil {
		http.Error(w, "how many?", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(count, 10))
	block := make([]byte, 64<<10)
	for count > 0 {
		n, err := w.Write(block[:min(count, int64(len(block)))])
		if count -= int64(n); err != nil {
			return // whoever asked is gone
		}
	}
}
