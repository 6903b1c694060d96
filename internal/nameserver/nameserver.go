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

// Start answers for the names in the table, which are in lower case and without a trailing dot, and denies that any
// other exists, until the test ends. The addresses of a name may be of both families.
func Start(t testing.TB, table map[string][]string) netip.AddrPort {
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
			if reply, err := answer(buffer[:n], table); err == nil {
				_, _ = socket.WriteTo(reply, from) // who asked may be gone
			}
		}
	}()
	return socket.LocalAddr().(*net.UDPAddr).AddrPort()
}

func answer(query []byte, table map[string][]string) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, fmt.Errorf("read query: %w", err)
	}
	if len(message.Questions) != 1 {
		return nil, fmt.Errorf("read query: %d questions", len(message.Questions))
	}
	question := message.Questions[0]
	addresses, known := table[strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))]
	message.Response, message.Additionals = true, nil
	if !known {
		message.RCode = dnsmessage.RCodeNameError
	}
	for _, text := range addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("address of %s: %w", question.Name, err)
		}
		header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: dnsmessage.ClassINET, TTL: 60}
		switch {
		case address.Is4() && question.Type == dnsmessage.TypeA:
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address.As4()}})
		case address.Is6() && question.Type == dnsmessage.TypeAAAA:
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}})
		}
	}
	return message.Pack()
}
