package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// alterations is what can be done to a log of more than 512 entries by whoever can write its files but lacks its key. Every one
// must be found, but for the control.
var alterations = map[string]func(log string) error{
	"unaltered":               func(string) error { return nil },
	"entry-altered":      func(log string) error { return flip(filepath.Join(log, "tile/entries/001"), 100) },
	"last-entry-altered": func(log string) error { return flipLast(log, "tile/entries") },
	"entry-removed":      func(log string) error { return edit(log, func(e [][]byte) [][]byte { return e[1:] }) },
	"entry-added":        func(log string) error { return edit(log, func(e [][]byte) [][]byte { return append(e, e[0]) }) },
	"entry-doubled":      func(log string) error { return edit(log, func(e [][]byte) [][]byte { e[1] = e[0]; return e }) },
	"entries-swapped": func(log string) error {
		return edit(log, func(e [][]byte) [][]byte { e[0], e[1] = e[1], e[0]; return e })
	},
	"bundle-removed":          func(log string) error { return os.Remove(filepath.Join(log, "tile/entries/001")) },
	"bundles-swapped":         func(log string) error { return swap(log, "tile/entries/000", "tile/entries/001") },
	"bundle-cut":              func(log string) error { return cut(filepath.Join(log, "tile/entries/001")) },
	"leaf-hash-altered":       func(log string) error { return flip(filepath.Join(log, "tile/0/001"), 33) },
	"last-leaf-hash-altered":  func(log string) error { return flipLast(log, "tile/0") },
	"leaf-tiles-swapped":      func(log string) error { return swap(log, "tile/0/000", "tile/0/001") },
	"leaf-tile-removed":       func(log string) error { return os.Remove(filepath.Join(log, "tile/0/000")) },
	"upper-hash-altered":      func(log string) error { return flipLast(log, "tile/1") },
	"entry-with-hash-altered": entryWithHash,
	"checkpoint-removed":      func(log string) error { return os.Remove(filepath.Join(log, "checkpoint")) },
	"size-altered":            func(log string) error { return line(log, 1, func(size string) string { return size + "0" }) },
	"root-altered": func(log string) error {
		return line(log, 2, func(string) string { return strings.Repeat("A", 43) + "=" })
	},
	"origin-altered":        func(log string) error { return line(log, 0, func(origin string) string { return origin + "x" }) },
	"signature-altered":     func(log string) error { return flipSignature(log) },
	"signed-by-another-key": signAgain,
}

// tamper makes a copy of the log for every alteration.
func tamper(log, to string) error {
	for name, alter := range alterations {
		// where the log would be in a set
		copied := filepath.Join(to, name, "main", "00000001")
		if err := os.CopyFS(copied, os.DirFS(log)); err != nil {
			return err
		}
		if err := alter(copied); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// change rewrites a file and makes sure that it is another one.
func change(file string, with func([]byte) []byte) error {
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	after := with(bytes.Clone(before))
	if bytes.Equal(before, after) {
		return fmt.Errorf("%s stayed as it was", file)
	}
	return os.WriteFile(file, after, 0o600)
}

func flip(file string, offset int) error {
	return change(file, func(data []byte) []byte { data[offset] ^= 1; return data })
}

func cut(file string) error {
	return change(file, func(data []byte) []byte { return data[:len(data)-1] })
}

// flipLast alters the last byte of the widest partial tile of a level, which ends the tree.
func flipLast(log, level string) error {
	files, err := filepath.Glob(filepath.Join(log, level, "*.p", "*"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no partial tile in %s: %v", level, err)
	}
	for _, file := range files {
		if err := change(file, func(data []byte) []byte { data[len(data)-1] ^= 1; return data }); err != nil {
			return err
		}
	}
	return nil
}

func swap(log, one, other string) error {
	one, other = filepath.Join(log, one), filepath.Join(log, other)
	for _, names := range [][2]string{{one, one + ".x"}, {other, one}, {one + ".x", other}} {
		if err := os.Rename(names[0], names[1]); err != nil {
			return err
		}
	}
	return nil
}

// edit changes the entries of the first bundle.
func edit(log string, with func([][]byte) [][]byte) error {
	var err error
	changed := change(filepath.Join(log, "tile/entries/000"), func(data []byte) []byte {
		var entries [][]byte
		if entries, err = split(data, width); err != nil {
			return data
		}
		var bundle []byte
		for _, entry := range with(entries) {
			bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
			bundle = append(bundle, entry...)
		}
		return bundle
	})
	if err != nil {
		return err
	}
	return changed
}

// entryWithHash alters an entry and its leaf hash in the tile, as one who knows the format would.
func entryWithHash(log string) error {
	var forged []byte
	err := edit(log, func(entries [][]byte) [][]byte {
		entries[7] = bytes.Clone(entries[7])
		entries[7][len(entries[7])/2] ^= 1
		forged = entries[7]
		return entries
	})
	if err != nil {
		return err
	}
	return change(filepath.Join(log, "tile/0/000"), func(data []byte) []byte {
		hash := tlog.RecordHash(forged)
		copy(data[7*len(hash):], hash[:])
		return data
	})
}

func line(log string, number int, with func(string) string) error {
	return change(filepath.Join(log, "checkpoint"), func(data []byte) []byte {
		lines := strings.Split(string(data), "\n")
		lines[number] = with(lines[number])
		return []byte(strings.Join(lines, "\n"))
	})
}

func flipSignature(log string) error {
	return line(log, 4, func(signature string) string {
		// a character in the middle, where base64 has no spare bits
		at := len(signature) - 20
		other := byte('A')
		if signature[at] == other {
			other = 'B'
		}
		return signature[:at] + string(other) + signature[at+1:]
	})
}

// signAgain signs the same text under the same name with a key that nobody trusts.
func signAgain(log string) error {
	var err error
	changed := change(filepath.Join(log, "checkpoint"), func(data []byte) []byte {
		text, _, _ := strings.Cut(string(data), "\n\n")
		name, _, _ := strings.Cut(text, "\n")
		var secret string
		if secret, _, err = note.GenerateKey(rand.Reader, name); err != nil {
			return data
		}
		var signer note.Signer
		if signer, err = note.NewSigner(secret); err != nil {
			return data
		}
		var signed []byte
		if signed, err = note.Sign(&note.Note{Text: text + "\n"}, signer); err != nil {
			return data
		}
		return signed
	})
	if err != nil {
		return err
	}
	return changed
}
