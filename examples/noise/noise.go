// Noise version 1 of vae-toolchain in Go: seed and index to latents, the same bits as in every other host.
//
//	go run noise.go normal_table_v1.f32 SEED INDEX LATENT_DIM
//
// Philox4x32-10 (Salmon et al. 2011) makes the words, a table of 65,536 normal scores makes them normal numbers.
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"math"
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
	table := make([]float32, tableSize)
	for i := range table {
		table[i] = math.Float32frombits(binary.LittleEndian.Uint32(content[4*i:]))
	}
	return table, nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Fatal("usage: noise TABLE SEED INDEX LATENT_DIM")
	}
	table, err := ReadTable(os.Args[1])
	check(err)
	counter := [4]uint32{0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344} // Random123's known answer
	if Philox(counter, [4]uint32{0xA4093822, 0x299F31D0}) != [4]uint32{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1} {
		log.Fatal("Philox4x32-10 differs from its known answer")
	}
	for i, bits := range []uint32{0xBF169944, 0x3E8839CA, 0x400F639C, 0x3F898DBB} {
		if math.Float32bits(Latents(table, 7, 5, 4)[i]) != bits {
			log.Fatalf("latent %d of seed 7, index 5 differs from its known answer", i)
		}
	}
	seed, err := strconv.ParseUint(os.Args[2], 10, 63)
	check(err)
	index, err := strconv.ParseUint(os.Args[3], 10, 63)
	check(err)
	latentDim, err := strconv.Atoi(os.Args[4])
	check(err)
	for _, z := range Latents(table, seed, index, latentDim) {
		fmt.Printf("%08x %.9g\n", math.Float32bits(z), z)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
