package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTheControlPlaneRefusesToStartWrong(t *testing.T) {
	good := serverEnvironment(t)
	for sentence, c := range map[string]struct {
		change environment
		want   string
	}{
		"without a database":           {environment{"CARACAL_DATABASE_URL": ""}, "set CARACAL_DATABASE_URL or --database-url-file"},
		"with a URL that is none":      {environment{"CARACAL_DATABASE_URL": "mysql://secret-password@x"}, "not a PostgreSQL connection URL"},
		"without a master key":         {environment{"CARACAL_MASTER_KEY_FILE": ""}, "set CARACAL_MASTER_KEY_FILE"},
		"with a master key too short":  {environment{"CARACAL_MASTER_KEY_FILE": write(t, "short", "c2hvcnQ=")}, "master key"},
		"with a master key in the raw": {environment{"CARACAL_MASTER_KEY_FILE": write(t, "raw", "\x01\x02")}, "does not hold base64"},
		"with a weak setup key":        {environment{"CARACAL_SETUP_KEY_FILE": write(t, "weak", "1234")}, "setup key"},
		"on every address without TLS": {environment{"CARACAL_LISTEN": "0.0.0.0:0"}, "would carry keys unencrypted"},
		"on any address without TLS":   {environment{"CARACAL_LISTEN": ":0"}, "would carry keys unencrypted"},
		"on an address that is none":   {environment{"CARACAL_LISTEN": "8080"}, "not of the form address:port"},
		"with half a certificate":      {environment{"CARACAL_TLS_CERT": "/nowhere"}, "set both"},
		"with a certificate not there": {environment{"CARACAL_TLS_CERT": "/nowhere", "CARACAL_TLS_KEY": "/nowhere"}, "reading the certificate"},
		"with no grace at all":         {environment{"CARACAL_WORKSPACE_GRACE": "0s"}, "CARACAL_WORKSPACE_GRACE must be"},
		"with a grace in words":        {environment{"CARACAL_WORKSPACE_GRACE": "a month"}, "CARACAL_WORKSPACE_GRACE must be"},
		"with a quota without number":  {environment{"CARACAL_QUOTAS": "keys"}, "is not name=number"},
		"with a quota twice":           {environment{"CARACAL_QUOTAS": "keys=1,keys=2"}, "is not name=number"},
		"with a quota of nothing":      {environment{"CARACAL_QUOTAS": "widgets=5"}, "there is no quota"},
		"with a quota of none":         {environment{"CARACAL_QUOTAS": "keys=0"}, "the quota \"keys\" is from 1"},
		"with a level that is none":    {environment{"CARACAL_LOG_LEVEL": "loud"}, "CARACAL_LOG_LEVEL must be"},
	} {
		t.Run(sentence, func(t *testing.T) {
			shell := maps.Clone(good)
			maps.Copy(shell, c.change)
			_, stderr, err := shell.caracal(t, "", "controlplane")
			if err == nil || !strings.Contains(stderr, c.want) {
				t.Errorf("it ended with %v, want %q: %s", err, c.want, stderr)
			}
			if strings.Contains(stderr, "secret-password") {
				t.Errorf("the error tells the password: %s", stderr)
			}
		})
	}
}

func TestMigrateIsRepeatable(t *testing.T) {
	owner, _ := cluster.New(t)
	shell := environment{"CARACAL_MIGRATE_DATABASE_URL": owner}
	if stdout, stderr, err := shell.caracal(t, "", "migrate"); err != nil || !strings.Contains(stdout, "up to date") {
		t.Errorf("migrating again ended with %v: %s%s", err, stdout, stderr)
	}
	if _, stderr, err := (environment{}).caracal(t, "", "migrate"); err == nil || !strings.Contains(stderr, "CARACAL_MIGRATE_DATABASE_URL") {
		t.Errorf("migrating nothing ended with %v: %s", err, stderr)
	}
}

func TestTheControlPlaneServesTLS(t *testing.T) {
	shell := serverEnvironment(t)
	shell["CARACAL_TLS_CERT"], shell["CARACAL_TLS_KEY"] = certificateFiles(t)
	url := "https://" + shell.serve(t)
	client := environment{"CARACAL_URL": url, "CARACAL_API_KEY": setupKey, "CARACAL_CA_FILE": shell["CARACAL_TLS_CERT"]}
	client.must(t, "workspace", "create", "my-team")
	delete(client, "CARACAL_CA_FILE")
	if _, stderr, err := client.caracal(t, "", "workspace", "list"); err == nil || !strings.Contains(stderr, "set CARACAL_CA_FILE") {
		t.Errorf("an unknown CA ended with %v: %s", err, stderr)
	}
}

func certificateFiles(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})))
}
