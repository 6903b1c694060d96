// Package nameserver answers DNS questions in tests from a table.
package nameserver

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// ttl is how long an answer may be kept, in seconds.
const ttl = 1

// Start answers for the names in the table, which are in lower case and without a trailing dot, and denies that any
// other exists, until the test ends. The addresses of a name may be of both families; what is none is a name that it is an
// alias of.
func Start(t testing.TB, table map[string][]string) netip.AddrPort {
	t.Helper()
	return Answering(t, func(name string) []string { return table[name] })
}

// Answering is Start for names whose addresses change: it asks for them each time. A name without any does not exist.
func Answering(t testing.TB, addresses func(name string) []string) netip.AddrPort {
	t.Helper()
	socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return // the test is over
			}
			if reply, err := answer(buffer[:n], addresses); err == nil {
				_, _ = socket.WriteTo(reply, from) // who asked may be gone
			}
		}
	}()
	return socket.LocalAddr().(*net.UDPAddr).AddrPort()
}

func answer(query []byte, addresses func(string) []string) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, fmt.Errorf("read query: %w", err)
	}
	if len(message.Questions) != 1 {
		return nil, fmt.Errorf("read query: %d questions", len(message.Questions))
	}
	question := message.Questions[0]
	message.Response, message.Additionals = true, nil
	if !answered(&message, question.Name, question.Type, addresses) {
		message.RCode = dnsmessage.RCodeNameError
	}
	return message.Pack()
}

// answered adds what a name has, and behind an alias what the name has that it stands for. It reports false for no such name.
func answered(message *dnsmessage.Message, name dnsmessage.Name, kind dnsmessage.Type, addresses func(string) []string) bool {
	found := addresses(strings.ToLower(strings.TrimSuffix(name.String(), ".")))
	for _, text := range found {
		header := dnsmessage.ResourceHeader{Name: name, Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}
		address, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			of := dnsmessage.MustNewName(text + ".")
			header.Type = dnsmessage.TypeCNAME
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: of}})
			return answered(message, of, kind, addresses)
		case address.Is4() && kind == dnsmessage.TypeA:
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address.As4()}})
		case address.Is6() && kind == dnsmessage.TypeAAAA:
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}})
		}
	}
	return len(found) > 0
}
