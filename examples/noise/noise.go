// Noise and prior, version 1 of vae-toolchain in Go: seed and index to latents, the same bits as in every other host.
//
//	go run noise.go normal_table_v1.f32 SEED INDEX LATENT_DIM [prior.npz LABEL]
//
// Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers. With
// the prior of a bundle, they move to a component of its mixture; LABEL is the number of a class, or -1 for any.
package main

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math"
	"math/bits"
	"os"
	"strconv"
)

const tableSize = 65536

// Philox is Philox4x32-10: four random words of a counter and a key.
func Philox(c, key [4]uint32) [4]uint32 {
	for round := 0; round < 10; round++ {
		product0, product1 := 0xD2511F53*uint64(c[0]), 0xCD9E8D57*uint64(c[2])
		c = [4]uint32{uint32(product1>>32) ^ c[1] ^ key[0], uint32(product1), uint32(product0>>32) ^ c[3] ^ key[1], uint32(product0)}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return c
}

// Words are the random words of a block: stream 0 is the prior, 1 the posterior, 2 the choice of the component.
func Words(seed, index uint64, block, stream uint32) [4]uint32 {
	key := [4]uint32{uint32(seed), uint32(seed >> 32)}
	return Philox([4]uint32{uint32(index), uint32(index >> 32), block, stream}, key)
}

// Latents are standard normal; word j of block b feeds latent 4 b + j.
func Latents(table []float32, seed, index uint64, latentDim int) []float32 {
	z := make([]float32, latentDim)
	for i := range z {
		word := Words(seed, index, uint32(i/4), 0)[i%4]
		sum := table[word&0xFFFF] + table[word>>16]
		z[i] = sum * float32(0.70710678118654752440)
	}
	return z
}

// ReadTable reads 65,536 little-endian floats.
func ReadTable(path string) ([]float32, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(content) != 4*tableSize {
		return nil, fmt.Errorf("%s: should be %d bytes but is %d", path, 4*tableSize, len(content))
	}
	return floats(content), nil
}

// Prior is a mixture of diagonal Gaussians.
type Prior struct {
	shift, scale        []float32 // (components, latents), one row after the other
	thresholds, aliases []uint32  // (1 + classes, slots): a row for any class, then one for each
	slots               int
}

// ReadPrior reads the prior.npz of a bundle and proves that no draw leaves its arrays.
func ReadPrior(path string, latentDim int) (*Prior, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer archive.Close()
	arrays := map[string][]byte{}
	for _, member := range archive.File {
		file, err := member.Open()
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(file)
		if err != nil {
			return nil, err
		}
		if len(content) < 10 || len(content) < 10+int(binary.LittleEndian.Uint16(content[8:])) {
			return nil, fmt.Errorf("%s: %s is no array", path, member.Name)
		}
		arrays[member.Name] = content[10+int(binary.LittleEndian.Uint16(content[8:])):] // after the header of version 1
	}
	prior := &Prior{
		shift: floats(arrays["shift.npy"]), scale: floats(arrays["scale.npy"]),
		thresholds: words(arrays["thresholds.npy"]), aliases: words(arrays["aliases.npy"]),
	}
	classes := 0 // the largest number of a class, plus 1
	for number := arrays["component_class.npy"]; len(number) >= 8; number = number[8:] {
		if count := int(int64(binary.LittleEndian.Uint64(number))) + 1; count > classes {
			classes = count
		}
	}
	prior.slots = len(prior.thresholds) / (1 + classes)
	components := len(arrays["component_class.npy"]) / 8
	fits := prior.slots >= 2 && prior.slots <= 65536 && bits.OnesCount(uint(prior.slots)) == 1 &&
		len(prior.thresholds) == prior.slots*(1+classes) && len(prior.aliases) == len(prior.thresholds) &&
		len(prior.shift) == components*latentDim && len(prior.scale) == len(prior.shift)
	for place := 0; fits && place < len(prior.thresholds); place++ {
		threshold := prior.thresholds[place]
		fits = threshold <= 65536 && (threshold == 0 || place%prior.slots < components) &&
			(threshold == 65536 || int(prior.aliases[place]) < components)
	}
	if !fits {
		return nil, fmt.Errorf("%s: its arrays do not fit together, or are not for %d latents", path, latentDim)
	}
	return prior, nil
}

// Component is the one of sample `index` of `seed`. label: number of a class, or -1 for any.
func (prior *Prior) Component(seed, index uint64, label int) (int, error) {
	if label < -1 || (label+2)*prior.slots > len(prior.thresholds) {
		return 0, fmt.Errorf("there is no class %d", label)
	}
	word := Words(seed, index, 0, 2)[0]
	slot := int(word >> (32 - bits.TrailingZeros(uint(prior.slots))))
	place := (label+1)*prior.slots + slot
	if word&0xFFFF < prior.thresholds[place] {
		return slot, nil
	}
	return int(prior.aliases[place]), nil
}

// Move takes normal noise, in place, to the component of sample `index` of `seed`.
func (prior *Prior) Move(noise []float32, seed, index uint64, label int, temperature float32) error {
	component, err := prior.Component(seed, index, label)
	if err != nil {
		return err
	}
	for i, n := range noise {
		at := component*len(noise) + i
		scaled := float32(n * temperature) // the conversion rounds, so that no compiler fuses it with the sum
		noise[i] = float32(scaled+prior.shift[at]) * prior.scale[at]
	}
	return nil
}

func words(content []byte) []uint32 {
	values := make([]uint32, len(content)/4)
	for i := range values {
		values[i] = binary.LittleEndian.Uint32(content[4*i:])
	}
	return values
}

func floats(content []byte) []float32 {
	values := make([]float32, len(content)/4)
	for i, bits := range words(content) {
		values[i] = math.Float32frombits(bits)
	}
	return values
}

// knownPrior is the mixture of weights 1, 2, 5 in docs/embedding.md.
func knownPrior() *Prior {
	return &Prior{
		shift: []float32{-2, 0.5, 0, 0, 8, -4}, scale: []float32{0.5, 1, 1, 2, 0.25, 0.75},
		thresholds: []uint32{32768, 65536, 65536, 0}, aliases: []uint32{2, 1, 2, 2}, slots: 4,
	}
}

func checkKnownAnswers(table []float32) {
	counter := [4]uint32{0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344} // Random123's known answer
	if Philox(counter, [4]uint32{0xA4093822, 0x299F31D0}) != [4]uint32{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1} {
		log.Fatal("Philox4x32-10 differs from its known answer")
	}
	for i, bits := range []uint32{0xBF169944, 0x3E8839CA, 0x400F639C, 0x3F898DBB} {
		if math.Float32bits(Latents(table, 7, 5, 4)[i]) != bits {
			log.Fatalf("latent %d of seed 7, index 5 differs from its known answer", i)
		}
	}
	prior, z := knownPrior(), Latents(table, 7, 5, 2)
	for index, component := range []int{0, 0, 1, 2, 2, 0, 1, 2, 2, 0, 2, 2} {
		if found, err := prior.Component(7, uint64(index), -1); err != nil || found != component {
			log.Fatalf("the component of seed 7, index %d differs from its known answer", index)
		}
	}
	check(prior.Move(z, 7, 5, -1, 1))
	if math.Float32bits(z[0]) != 0xBFA5A651 || math.Float32bits(z[1]) != 0x3F441CE5 {
		log.Fatal("the mixture's latents of seed 7, index 5 differ from their known answers")
	}
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 && len(os.Args) != 7 {
		log.Fatal("usage: noise TABLE SEED INDEX LATENT_DIM [PRIOR LABEL]")
	}
	table, err := ReadTable(os.Args[1])
	check(err)
	checkKnownAnswers(table)
	seed, err := strconv.ParseUint(os.Args[2], 10, 63)
	check(err)
	index, err := strconv.ParseUint(os.Args[3], 10, 63)
	check(err)
	latentDim, err := strconv.Atoi(os.Args[4])
	check(err)
	latents := Latents(table, seed, index, latentDim)
	if len(os.Args) == 7 {
		prior, err := ReadPrior(os.Args[5], latentDim)
		check(err)
		label, err := strconv.Atoi(os.Args[6])
		check(err)
		check(prior.Move(latents, seed, index, label, 1))
	}
	for _, z := range latents {
		fmt.Printf("%08x %.9g\n", math.Float32bits(z), z)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
