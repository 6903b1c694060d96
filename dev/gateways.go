package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// MaxGateways is how many gateways a run starts at most. Their ports follow each other.
const MaxGateways = 9

// place is the name of a gateway's directory and log; the first is the one that everything else uses.
func place(gateway int) string {
	if gateway == 1 {
		return "gateway"
	}
	return fmt.Sprintf("gateway-%d", gateway)
}

func (c Config) gatewayPort(gateway int) int { return c.GatewayPort + gateway - 1 }
func (c Config) proxyPort(gateway int) int   { return c.ProxyPort + gateway - 1 }

// startGateways starts the gateways under their key and waits until all of them enforce the workspace. Of several, each
// has a line of its own to the control plane, which can be cut.
func (s *stack) startGateways(ctx context.Context, key string) error {
	if err := os.RemoveAll(s.lines()); err != nil {
		return fmt.Errorf("mend the lines of a former run: %w", err)
	}
	for g := 1; g <= s.Gateways; g++ {
		control := s.controlURL()
		if s.Gateways > 1 {
			if err := os.MkdirAll(string(s.line(g)), 0o700); err != nil {
				return fmt.Errorf("make the directory of a line: %w", err)
			}
			line, err := newRelay(ctx, loopback(s.ControlPort))
			if err != nil {
				return err
			}
			s.background(func(ctx context.Context) error { return line.run(ctx, s.line(g)) })
			control = line.url()
		}
		if err := s.startGateway(g, control, key); err != nil {
			return err
		}
	}
	for g := 1; g <= s.Gateways; g++ {
		if err := s.await(ctx, "gateway", place(g), "http://"+loopback(s.gatewayPort(g))+"/ready"); err != nil {
			return err
		}
	}
	return nil
}

// refusal says how to get on with a gateway that its control plane refuses.
func (s *stack) refusal(place string) error {
	return fmt.Errorf("the control plane refuses the %s, which waiting does not mend\n%s\n"+
		"If it was revoked, remove %s, and the next start makes another one there; if its key was, %s",
		place, tail(s.logFile(place)), filepath.Join(s.state, place), s.startOver())
}

// refused reports whether a gateway says of itself that its control plane refuses it.
func refused(answer []byte) bool {
	var health struct {
		Refused bool `json:"refused"`
	}
	return json.Unmarshal(answer, &health) == nil && health.Refused
}

func (s *stack) startGateway(gateway int, control, key string) error {
	settings := []string{
		"ENTERPRISE_URL=" + control,
		"ENTERPRISE_API_KEY=" + key,
		"ENTERPRISE_WORKSPACE=" + slug,
		"CARACAL_LISTEN=" + loopback(s.gatewayPort(gateway)),
		"CARACAL_PROXY_LISTEN=off",
		"CARACAL_PROXY_LISTEN=" + loopback(s.proxyPort(gateway)),
		"CARACAL_STATE_DIR=" + filepath.Join(s.state, place(gateway)),
		"CARACAL_CREDENTIALS_DIR=" + filepath.Join(s.state, "credentials"),
		"CARACAL_ENVOY=" + s.envoy,
		"CARACAL_INSTANCE=" + fmt.Sprintf("gateway-%d", gateway),
	}
	return s.keep(place(gateway), []string{"gateway"}, settings...)
}
