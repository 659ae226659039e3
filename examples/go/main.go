// Seed and index to a picture, through cgo: sample SEED INDEX PICTURE.png. Go compiles generator.c by itself.
package main

// #cgo CFLAGS: -O2
// #include "generator.h"
import "C"

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log"
	"os"
	"strconv"
	"unsafe"
)

// Sample draws one image: height, width, channels.
func Sample(seed, index uint64) ([]byte, error) {
	pixels := make([]byte, C.VAE_HEIGHT*C.VAE_WIDTH*C.VAE_CHANNELS)
	address := (*C.uint8_t)(unsafe.Pointer(&pixels[0]))
	if code := C.vae_sample(C.uint64_t(seed), C.uint64_t(index), -1, 1, address); code != C.VAE_OK {
		return nil, fmt.Errorf("vae_sample: error %d, see generator.h", code)
	}
	return pixels, nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: sample SEED INDEX PICTURE.png")
	}
	if code := C.vae_self_test(); code != C.VAE_OK {
		log.Fatalf("vae_self_test: error %d, see generator.h", code)
	}
	seed, err := strconv.ParseUint(os.Args[1], 10, 64)
	check(err)
	index, err := strconv.ParseUint(os.Args[2], 10, 64)
	check(err)
	pixels, err := Sample(seed, index)
	check(err)
	picture := image.NewRGBA(image.Rect(0, 0, C.VAE_WIDTH, C.VAE_HEIGHT))
	for at := 0; at < C.VAE_HEIGHT*C.VAE_WIDTH; at++ {
		first, last := at*C.VAE_CHANNELS, (at+1)*C.VAE_CHANNELS-1 // gray: all three are the one channel
		green := (first + last) / 2
		picture.Set(at%C.VAE_WIDTH, at/C.VAE_WIDTH, color.RGBA{pixels[first], pixels[green], pixels[last], 255})
	}
	file, err := os.Create(os.Args[3])
	check(err)
	check(png.Encode(file, picture))
	check(file.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
