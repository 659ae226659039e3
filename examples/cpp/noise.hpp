// Noise version 1 of vae-toolchain in standard C++: seed and index to latents, the same bits as in every other host.
//
// Philox4x32-10 (Salmon et al. 2011) makes the words, and a table of 65,536 normal scores makes them normal numbers. Only
// integer operations, a look-up, one float addition and one float multiplication: keep -ffast-math off.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace vae {

using Words = std::array<std::uint32_t, 4>;

/// Four random words from the counter c and a 64-bit key, its low word first: the cipher runs ten rounds.
inline Words philox4x32(Words c, std::uint32_t key0, std::uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t{0xD2511F53} * c[0];
        const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * c[2];
        c = {static_cast<std::uint32_t>(product1 >> 32) ^ c[1] ^ key0, static_cast<std::uint32_t>(product1),
             static_cast<std::uint32_t>(product0 >> 32) ^ c[3] ^ key1, static_cast<std::uint32_t>(product0)};
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    return c;
}

class Noise {
public:
    /// table: path of `normal_table_v1.f32`, 65,536 little-endian floats. Throws where it cannot be read.
    explicit Noise(const std::string& table) : scores_(65536) {
        std::ifstream file(table, std::ios::binary);
        std::array<unsigned char, 4> bytes;
        for (float& score : scores_) {
            if (!file.read(reinterpret_cast<char*>(bytes.data()), 4)) {
                throw std::runtime_error(table + ": should hold 65,536 floats of 4 bytes but cannot be read or ends early");
            }
            const std::uint32_t bits = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | std::uint32_t{bytes[3]} << 24;
            score = std::bit_cast<float>(bits);
        }
    }

    /// The latents of sample `index` of `seed`, standard normal. seed, index: 0 ... 2^63 - 1.
    std::vector<float> latents(std::uint64_t seed, std::uint64_t index, int latent_dim) const {
        std::vector<float> z(latent_dim);
        for (int i = 0; i < latent_dim; ++i) {  // word j of block b feeds latent 4 b + j; stream 0 is the prior
            const Words counter{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                                static_cast<std::uint32_t>(i / 4), 0};
            const Words words =
                philox4x32(counter, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
            z[i] = (scores_[words[i % 4] & 0xFFFF] + scores_[words[i % 4] >> 16]) * 0.70710678118654752440f;
        }
        return z;
    }

private:
    std::vector<float> scores_;
};

}  // namespace vae
