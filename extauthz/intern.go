package extauthz

import "slices"

// interned are values that many records share, each known by its number. Number 0 is that of the zero value. Values are
// only ever added, behind all that a reader may look at, so that every snapshot of a line shares one list.
type interned[T any] struct {
	values  []T
	numbers map[string]uint32 // by the value's own text
}

func newInterned[T any]() *interned[T] {
	return &interned[T]{values: make([]T, 1), numbers: map[string]uint32{}}
}

// number is the number of the value that a text stands for. value makes it where it is not known yet.
func (i *interned[T]) number(text string, value func() T) uint32 {
	if n, ok := i.numbers[text]; ok {
		return n
	}
	n := uint32(len(i.values))
	i.values = append(i.values, value())
	i.numbers[text] = n
	return n
}

// seen are the values that have numbers by now.
func (i *interned[T]) seen() []T { return slices.Clip(i.values) }
