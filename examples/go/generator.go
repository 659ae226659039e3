package main

// #cgo CFLAGS: -O2
// #include "generator.h"
import "C"

import (
	"fmt"
	"unsafe"
)

const (
	Width, Height, Channels = C.VAE_WIDTH, C.VAE_HEIGHT, C.VAE_CHANNELS
	LatentDim               = C.VAE_LATENT_DIM
	Classes                 = C.VAE_CLASSES
	AnyClass                = -1
)

// SelfTest says whether this build computes what the model's exporter computed, to the bit.
func SelfTest() error {
	return failed("vae_self_test", C.vae_self_test())
}

// Sample draws one image: height, width, channels. Label is the number of a class, or AnyClass.
func Sample(seed, index uint64, label int64, temperature float32) ([]byte, error) {
	pixels := make([]byte, Height*Width*Channels)
	address := (*C.uint8_t)(unsafe.Pointer(&pixels[0]))
	code := C.vae_sample(C.uint64_t(seed), C.uint64_t(index), C.int64_t(label), C.float(temperature), address)
	return pixels, failed("vae_sample", code)
}

// Latents gives the latents that Sample decodes.
func Latents(seed, index uint64, label int64, temperature float32) ([]float32, error) {
	z := make([]float32, LatentDim)
	address := (*C.float)(unsafe.Pointer(&z[0]))
	code := C.vae_latents(C.uint64_t(seed), C.uint64_t(index), C.int64_t(label), C.float(temperature), address)
	return z, failed("vae_latents", code)
}

func failed(function string, code C.int) error {
	if code == C.VAE_OK {
		return nil
	}
	return fmt.Errorf("%s: error %d, see generator.h", function, code)
}
