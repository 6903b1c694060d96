package serve_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/serve"
)

func answer(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, text+" "+r.Proto)
	})
}

// start serves on a free port and returns its address and what ends it.
func start(t *testing.T, config *tls.Config, rest http.Handler) (addr string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Config{
			Listener: listener, TLS: config, REST: rest, GRPC: answer("grpc"), Log: slog.New(slog.DiscardHandler),
		})
	}()
	stop = func() error {
		cancel()
		return <-ended
	}
	t.Cleanup(func() { cancel() })
	return listener.Addr().String(), stop
}

func TestOnePortSpeaksRESTAndGRPC(t *testing.T) {
	certificate, roots := selfSigned(t)
	h1 := new(http.Protocols)
	h1.SetHTTP1(true)
	h2 := new(http.Protocols)
	h2.SetHTTP2(true)
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	for sentence, c := range map[string]struct {
		tls         bool
		protocols   *http.Protocols
		contentType string
		want        string
	}{
		"plain HTTP/1.1 is REST":                    {false, h1, "application/json", "rest HTTP/1.1"},
		"plain HTTP/2 is REST":                      {false, h2c, "application/json", "rest HTTP/2.0"},
		"gRPC over plain HTTP/2 is gRPC":            {false, h2c, "application/grpc", "grpc HTTP/2.0"},
		"gRPC with a codec over plain HTTP/2":       {false, h2c, "application/grpc+proto", "grpc HTTP/2.0"},
		"a gRPC content type over HTTP/1.1 is REST": {false, h1, "application/grpc", "rest HTTP/1.1"},
		"TLS with HTTP/1.1 is REST":                 {true, h1, "application/json", "rest HTTP/1.1"},
		"TLS with HTTP/2 is REST":                   {true, h2, "application/json", "rest HTTP/2.0"},
		"gRPC over TLS is gRPC":                     {true, h2, "application/grpc", "grpc HTTP/2.0"},
	} {
		t.Run(sentence, func(t *testing.T) {
			var config *tls.Config
			scheme := "http"
			if c.tls {
				scheme, config = "https", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
			}
			addr, stop := start(t, config, answer("rest"))
			client := &http.Client{Transport: &http.Transport{Protocols: c.protocols, TLSClientConfig: &tls.Config{RootCAs: roots}}}
			resp, err := client.Post(scheme+"://"+addr+"/", c.contentType, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != c.want {
				t.Errorf("answered %q (%v), want %q", body, err, c.want)
			}
			client.CloseIdleConnections()
			if err := stop(); err != nil {
				t.Errorf("stopping: %v", err)
			}
		})
	}
}

func TestARunningRequestEndsBeforeTheServerDoes(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	addr, stop := start(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		fmt.Fprint(w, "done")
	}))
	type result struct {
		body string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			got <- result{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got <- result{string(body), err}
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The listener closes first: once it refuses connections, the shutdown is under way.
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			break
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	close(release)
	if r := <-got; r.err != nil || r.body != "done" {
		t.Errorf("the running request got %q, %v", r.body, r.err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestAFailedListenerIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err = serve.Run(t.Context(), serve.Config{Listener: listener, REST: answer("rest"), GRPC: answer("grpc"), Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Error("serving on a closed listener succeeded")
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
