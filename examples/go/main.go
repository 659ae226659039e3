// Seed and index to a picture: sample SEED INDEX PICTURE.png [CLASS]. What calls the C source is in generator.go.
package main

import (
	"image"
	"image/color"
	"image/png"
	"log"
	"os"
	"strconv"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 && len(os.Args) != 5 {
		log.Fatal("usage: sample SEED INDEX PICTURE.png [CLASS]")
	}
	check(SelfTest())
	seed, err := strconv.ParseUint(os.Args[1], 10, 64)
	check(err)
	index, err := strconv.ParseUint(os.Args[2], 10, 64)
	check(err)
	label := int64(AnyClass)
	if len(os.Args) == 5 {
		label, err = strconv.ParseInt(os.Args[4], 10, 64)
		check(err)
	}
	pixels, err := Sample(seed, index, label, 1)
	check(err)
	picture := image.NewRGBA(image.Rect(0, 0, Width, Height))
	for at := 0; at < Height*Width; at++ {
		first, last := at*Channels, (at+1)*Channels-1 // gray: all three are the one channel
		green := (first + last) / 2
		picture.Set(at%Width, at/Width, color.RGBA{pixels[first], pixels[green], pixels[last], 255})
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
