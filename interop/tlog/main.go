// Checks a tlog-tiles log with the packages of the Go checksum database (golang.org/x/mod/sumdb), which know nothing of
// rmcp-guard, and builds logs with them.
//
//	tlog verify DIRECTORY VKEY-FILE [EARLIER-CHECKPOINT...]
//	tlog build DIRECTORY VKEY-FILE SIZE
//	tlog tamper DIRECTORY COPIES
package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Levels of the tree that one tile covers (c2sp.org/tlog-tiles), and hashes of a full tile.
const (
	height = 8
	width  = 1 << height
)

// Entries of which inclusion is proved, and sizes from which consistency is, each at random besides the edges.
const samples = 60

func main() {
	usage := errors.New("usage: tlog verify DIRECTORY VKEY-FILE [EARLIER-CHECKPOINT...] | build DIRECTORY VKEY-FILE SIZE | tamper DIRECTORY COPIES")
	err := usage
	switch args := os.Args[1:]; {
	case len(args) >= 3 && args[0] == "verify":
		err = verify(args[1], args[2], args[3:])
	case len(args) == 4 && args[0] == "build":
		err = build(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "tamper":
		err = tamper(args[1], args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tlog:", err)
		os.Exit(1)
	}
}

// path is where c2sp.org/tlog-tiles has a tile: that of the checksum database without the height.
func path(directory string, tile tlog.Tile) string {
	relative := strings.TrimPrefix(tile.Path(), "tile/8/")
	if rest, ok := strings.CutPrefix(relative, "data/"); ok {
		relative = "entries/" + rest
	}
	return filepath.Join(directory, "tile", filepath.FromSlash(relative))
}

// directory reads tiles from a directory and counts them.
type directory struct {
	path string
	read map[string]bool
}

func (d *directory) Height() int { return height }

func (d *directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(path(d.path, tile))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path(d.path, tile), len(data))
		}
		all = append(all, data)
	}
	return all, nil
}

// SaveTiles is called with tiles that were checked against the root.
func (d *directory) SaveTiles(tiles []tlog.Tile, _ [][]byte) {
	for _, tile := range tiles {
		d.read[path(d.path, tile)] = true
	}
}

func readVerifier(file string) (note.Verifier, error) {
	vkey, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(strings.TrimSpace(string(vkey)))
}

// openCheckpoint checks the signature of a checkpoint (c2sp.org/tlog-checkpoint).
func openCheckpoint(file string, verifier note.Verifier) (tlog.Tree, error) {
	signed, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("%s is no checkpoint of %s", file, verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] || size < 0 {
		return tlog.Tree{}, fmt.Errorf("%s: bad size", file)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// split takes a bundle of entries apart.
func split(bundle []byte, count int) ([][]byte, error) {
	var entries [][]byte
	for range count {
		if len(bundle) < 2 {
			return nil, errors.New("the bundle is too short")
		}
		length := int(binary.BigEndian.Uint16(bundle))
		if len(bundle)-2 < length {
			return nil, errors.New("the bundle is too short")
		}
		entries = append(entries, bundle[2:2+length])
		bundle = bundle[2+length:]
	}
	if len(bundle) != 0 {
		return nil, errors.New("the bundle is too long")
	}
	return entries, nil
}

func verify(log, vkeyFile string, earlier []string) error {
	verifier, err := readVerifier(vkeyFile)
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(filepath.Join(log, "checkpoint"), verifier)
	if err != nil {
		return err
	}
	tiles := &directory{log, map[string]bool{}}
	hashes := tlog.TileHashReader(tree, tiles)

	// every entry against its leaf hash, and that against the root
	stored := memory{}
	for start := int64(0); start < tree.N; start += width {
		count := int(min(width, tree.N-start))
		bundle := path(log, tlog.Tile{H: height, L: -1, N: start / width, W: count})
		data, err := os.ReadFile(bundle)
		if err != nil {
			return err
		}
		entries, err := split(data, count)
		if err != nil {
			return fmt.Errorf("%s: %w", bundle, err)
		}
		var indexes []int64
		for i := range entries {
			indexes = append(indexes, tlog.StoredHashIndex(0, start+int64(i)))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			index := start + int64(i)
			if tlog.RecordHash(entry) != leaves[i] {
				return fmt.Errorf("entry %d is not the one that was signed", index)
			}
			if err := checkChain(entry, index, stored); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			more, err := tlog.StoredHashesForRecordHash(index, leaves[i], stored)
			if err != nil {
				return err
			}
			stored.add(more)
		}
	}
	// the root anew, from the entries alone
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the root is not that of the entries")
	}
	// every tile, those of the upper levels too
	for level := 0; tree.N>>(height*level) > 0; level++ {
		for n := int64(0); n<<height < tree.N>>(height*level); n++ {
			count := int(min(width, tree.N>>(height*level)-n<<height))
			tile := tlog.Tile{H: height, L: level, N: n, W: count}
			want, err := tlog.ReadTileData(tile, stored)
			if err != nil {
				return err
			}
			got, err := os.ReadFile(path(log, tile))
			if err != nil {
				return err
			}
			if string(got) != string(want) {
				return fmt.Errorf("%s is not the tile of its entries", path(log, tile))
			}
		}
	}

	// proofs made from the tiles
	for _, index := range pick(tree.N) {
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return err
		}
		leaf := stored[tlog.StoredHashIndex(0, index)]
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf); err != nil {
			return fmt.Errorf("inclusion of %d: %w", index, err)
		}
	}
	for _, index := range pick(tree.N) {
		size := index + 1
		old, err := tlog.TreeHash(size, stored)
		if err != nil {
			return err
		}
		if err := checkConsistency(tlog.Tree{N: size, Hash: old}, tree, hashes); err != nil {
			return err
		}
	}
	for _, file := range earlier {
		old, err := openCheckpoint(file, verifier)
		if err != nil {
			return err
		}
		if err := checkConsistency(old, tree, hashes); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %d entries, %d tiles authenticated, %d earlier checkpoints\n", verifier.Name(), tree.N, len(tiles.read), len(earlier))
	return nil
}

func checkConsistency(old, tree tlog.Tree, hashes tlog.HashReader) error {
	if old.N > tree.N {
		return fmt.Errorf("the log is shorter than it was: %d, now %d", old.N, tree.N)
	}
	if old.N == 0 {
		return nil
	}
	proof, err := tlog.ProveTree(tree.N, old.N, hashes)
	if err == nil {
		err = tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
	}
	if err != nil {
		return fmt.Errorf("consistency from %d: %w", old.N, err)
	}
	return nil
}

// checkChain checks what rmcp-guard says of its entries; those of other logs have no `prev`.
func checkChain(entry []byte, index int64, stored memory) error {
	var parsed struct {
		Prev *string `json:"prev"`
		Seq  *int64  `json:"seq"`
	}
	if json.Unmarshal(entry, &parsed) != nil || parsed.Prev == nil {
		return nil
	}
	var previous tlog.Hash
	if index > 0 {
		previous = stored[tlog.StoredHashIndex(0, index-1)]
	}
	if parsed.Seq == nil || *parsed.Seq != index || *parsed.Prev != base64.RawURLEncoding.EncodeToString(previous[:]) {
		return errors.New("the chain is broken")
	}
	return nil
}

// pick gives indexes below size: the edges and some at random.
func pick(size int64) []int64 {
	var picked []int64
	for _, index := range []int64{0, width - 1, width, width*width - 1, width * width, size - 2, size - 1} {
		if 0 <= index && index < size {
			picked = append(picked, index)
		}
	}
	for len(picked) < samples && size > 0 {
		index, err := rand.Int(rand.Reader, big.NewInt(size))
		if err != nil {
			panic(err)
		}
		picked = append(picked, index.Int64())
	}
	return picked
}

// memory has every hash of a tree, by its storage index.
type memory map[int64]tlog.Hash

func (m memory) add(hashes []tlog.Hash) {
	for _, hash := range hashes {
		m[int64(len(m))] = hash
	}
}

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, index := range indexes {
		hash, ok := m[index]
		if !ok {
			return nil, fmt.Errorf("no hash %d", index)
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func build(log, vkeyFile, sizeText string) error {
	size, err := strconv.ParseInt(sizeText, 10, 64)
	if err != nil {
		return err
	}
	secret, vkey, err := note.GenerateKey(rand.Reader, "example.com/built-with-x-mod")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return err
	}
	if err := write(vkeyFile, []byte(vkey+"\n")); err != nil {
		return err
	}
	stored := memory{}
	var bundle []byte
	for index := range size {
		entry := fmt.Appendf(nil, "an entry of another kind of log, number %d", index)
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
		bundle = append(bundle, entry...)
		if count := int(index%width) + 1; count == width || index == size-1 {
			tile := tlog.Tile{H: height, L: -1, N: index / width, W: count}
			if err := write(path(log, tile), bundle); err != nil {
				return err
			}
			bundle = nil
		}
		more, err := tlog.StoredHashes(index, entry, stored)
		if err != nil {
			return err
		}
		stored.add(more)
	}
	for _, tile := range tlog.NewTiles(height, 0, size) {
		data, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		if err := write(path(log, tile), data); err != nil {
			return err
		}
	}
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", signer.Name(), size, root)
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return err
	}
	return write(filepath.Join(log, "checkpoint"), signed)
}

func write(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}
