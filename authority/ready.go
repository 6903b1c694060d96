package authority

// ReadyDestinations are the entries for model providers that a new workspace starts with: api:external/<name>, POST
// executes and GET reads. They have no identifiers yet.
func ReadyDestinations() []Destination {
	providers := []struct{ name, host string }{
		{"openai", "api.openai.com"},
		{"anthropic", "api.anthropic.com"},
		{"google", "generativelanguage.googleapis.com"},
		{"mistral", "api.mistral.ai"},
		{"groq", "api.groq.com"},
		{"together", "api.together.xyz"},
		{"openrouter", "openrouter.ai"},
		{"cohere", "api.cohere.com"},
		{"deepseek", "api.deepseek.com"},
		{"xai", "api.x.ai"},
	}
	destinations := make([]Destination, len(providers))
	for i, p := range providers {
		destinations[i] = Destination{
			Name: p.name,
			Host: p.host,
			Rules: []Rule{{
				Path:     "/**",
				Methods:  map[string]Action{"GET": Read, "POST": Execute},
				Resource: "api:external/" + p.name,
			}},
		}.WithDefaults()
	}
	return destinations
}
