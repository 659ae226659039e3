// uint8 pixels as a PGM (gray) or PPM (colour) file, which every image viewer opens.
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

namespace vae {

/// pixels: height x width x channels, row by row, 1 channel or 3. Throws where `path` cannot be written.
inline void write_pnm(const std::string& path, const std::uint8_t* pixels, int height, int width, int channels) {
    std::ofstream file(path, std::ios::binary);
    file << (channels == 1 ? "P5 " : "P6 ") << width << ' ' << height << " 255\n";
    file.write(reinterpret_cast<const char*>(pixels), std::streamsize{height} * width * channels);
    if (!file.flush()) {
        throw std::runtime_error("cannot write " + path);
    }
}

}  // namespace vae
