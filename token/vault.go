package token

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// MasterKeySize is the length of a master key, in bytes.
const MasterKeySize = 32

// vaultFormat is the first byte of what a vault seals; it leaves room for another cipher.
const vaultFormat = 1

// Vault encrypts the private keys that are stored, under the deployment's master key: AES-256-GCM with a random
// nonce, bound to the id and the purpose of the key, so that one stored key cannot be put in the place of another.
type Vault struct {
	aead cipher.AEAD
}

// NewVault takes the master key, of MasterKeySize bytes.
func NewVault(masterKey []byte) (Vault, error) {
	if len(masterKey) != MasterKeySize {
		return Vault{}, fmt.Errorf("open vault: master key has %d bytes, not %d", len(masterKey), MasterKeySize)
	}
	block, err := aes.NewCipher(masterKey)
	if err != nil {
		return Vault{}, fmt.Errorf("open vault: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return Vault{}, fmt.Errorf("open vault: %w", err)
	}
	return Vault{aead: aead}, nil
}

// Seal encrypts the seed of the key with this id and purpose. A root's id is its workspace's.
func (v Vault) Seal(id string, purpose Purpose, seed []byte) []byte {
	return v.aead.Seal([]byte{vaultFormat}, nil, seed, vaultContext(id, purpose))
}

// Open decrypts what Seal made for the same id and purpose; anything else is ErrVault.
func (v Vault) Open(id string, purpose Purpose, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != vaultFormat {
		return nil, ErrVault
	}
	seed, err := v.aead.Open(nil, nil, sealed[1:], vaultContext(id, purpose))
	if err != nil {
		return nil, ErrVault
	}
	return seed, nil
}

// vaultContext tells every pair of id and purpose apart, whatever they consist of.
func vaultContext(id string, purpose Purpose) []byte {
	context := append([]byte("caracal-vault\x00"), vaultFormat)
	context = binary.BigEndian.AppendUint64(context, uint64(len(id)))
	context = append(context, id...)
	return append(context, purpose...)
}
