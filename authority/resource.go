package authority

// Resource is the literal name of something that can be acted on: non-empty segments of printable ASCII separated by
// `:` and `/`, such as `api:external/openai`. The separators are part of the name.
type Resource string

// ResourcePattern is a resource in which a whole segment may be `*`: exactly one segment, or, as the final segment,
// one and more further segments whatever separates them.
type ResourcePattern string
