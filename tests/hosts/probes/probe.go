// What test_conformance.py asks of a host, through the example in Go: probe LATENTS IMAGES SEED... -- INDEX... [-- LABEL...]
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"runtime"
	"sort"
	"strconv"
	"time"
)

func main() {
	log.SetFlags(0)
	must(SelfTest())
	lists := [3][]int64{}
	at := 0
	for _, word := range os.Args[3:] {
		if word == "--" {
			at++
			continue
		}
		number, err := strconv.ParseInt(word, 10, 64)
		must(err)
		lists[at] = append(lists[at], number)
	}
	seeds, indices, labels := lists[0], lists[1], lists[2]
	var latents, images bytes.Buffer
	for _, seed := range seeds {
		for i, index := range indices {
			label := int64(AnyClass)
			if len(labels) > 0 {
				label = labels[i]
			}
			z, err := Latents(uint64(seed), uint64(index), label, 1)
			must(err)
			must(binary.Write(&latents, binary.LittleEndian, z))
			pixels, err := Sample(uint64(seed), uint64(index), label, 1)
			must(err)
			images.Write(pixels)
		}
	}
	must(os.WriteFile(os.Args[1], latents.Bytes(), 0o644))
	must(os.WriteFile(os.Args[2], images.Bytes(), 0o644))
	times := make([]float64, 220)
	for i := range times {
		start := time.Now()
		_, err := Sample(0, uint64(i), AnyClass, 1)
		times[i] = time.Since(start).Seconds()
		must(err)
	}
	sort.Float64s(times[20:])
	fmt.Printf("{\"version\": \"%s\", \"ms\": %g}\n", runtime.Version(), 1000*times[120])
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
