// Known answers of the noise: Random123's for Philox4x32-10, and four latents of vae-toolchain's noise version 1.
#include <bit>
#include <cstdio>

#include "noise.hpp"

int main(int, char** argv) {
    const vae::Words words =
        vae::philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0);
    if (words != vae::Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}) {
        std::puts("Philox4x32-10 differs from its known answer");
        return 1;
    }
    const std::uint32_t expected[] = {0xbf169944, 0x3e8839ca, 0x400f639c, 0x3f898dbb};  // seed 7, index 5
    const std::vector<float> z = vae::Noise(argv[1]).latents(7, 5, 4);
    for (int i = 0; i < 4; ++i) {
        if (std::bit_cast<std::uint32_t>(z[i]) != expected[i]) {
            std::printf("latent %d of seed 7, index 5 is %.9g, which is not what it should be\n", i, z[i]);
            return 1;
        }
    }
    std::puts("the noise is version 1, to the bit");
}
