package extauthz

import (
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// key is the random half of an id, in 16 bytes that are in the order of the ids' text.
type key struct{ high, low uint64 }

// digits are those of ids, in the order of their text.
const digits = "234567abcdefghijklmnopqrstuvwxyz"

// keyLength is that of the random half of an id, which is 128 bits in base32: the last digit holds three.
const keyLength = 26

func (k key) compare(other key) int {
	switch {
	case k == other:
		return 0
	case k.high < other.high, k.high == other.high && k.low < other.low:
		return -1
	}
	return 1
}

const mandatePrefix = "mdt_"

// keyOf reads an id. It is false for one that is not of the form that ids have.
func keyOf(id authority.MandateID) (key, bool) {
	random, ok := strings.CutPrefix(string(id), mandatePrefix)
	if !ok || len(random) != keyLength {
		return key{}, false
	}
	var k key
	for i := range keyLength - 1 {
		value, ok := valueOf(random[i])
		if !ok {
			return key{}, false
		}
		k.high, k.low = k.high<<5|k.low>>59, k.low<<5|value
	}
	// Base32 by its own order has the digits behind the letters, and the two bits that are left at the end are zero there.
	// In the order of the text, the digits of which that is true are every fourth one from the third on.
	value, ok := valueOf(random[keyLength-1])
	if !ok || value%4 != 2 {
		return key{}, false
	}
	k.high, k.low = k.high<<3|k.low>>61, k.low<<3|value>>2
	return k, true
}

// valueOf is the place of a digit.
func valueOf(digit byte) (uint64, bool) {
	switch {
	case '2' <= digit && digit <= '7':
		return uint64(digit - '2'), true
	case 'a' <= digit && digit <= 'z':
		return uint64(digit-'a') + 6, true
	}
	return 0, false
}

// id is the id again.
func (k key) id() authority.MandateID {
	var text [len(mandatePrefix) + keyLength]byte
	copy(text[:], mandatePrefix)
	end := len(text) - 1
	text[end] = digits[k.low&7<<2+2]
	for k = k.right(3); end > len(mandatePrefix); k = k.right(5) {
		end--
		text[end] = digits[k.low&31]
	}
	return authority.MandateID(text[:])
}

// right shifts a key to the right.
func (k key) right(n int) key { return key{k.high >> n, k.low>>n | k.high<<(64-n)} }
