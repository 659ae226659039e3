// Prior version 1 of vae-toolchain in standard C++: a mixture of Gaussians in place of N(0, I), the same bits as in every
// other host. Keep -ffast-math off.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "noise.hpp"

namespace vae {

class Prior {
public:
    /// file: path of a bundle's prior.npz. Throws where it cannot be read or its arrays do not fit together.
    Prior(const std::string& file, int latent_dim) : latent_dim_(latent_dim) {
        const auto arrays = read(file);
        shift_ = values<float>(arrays, "shift", file);
        scale_ = values<float>(arrays, "scale", file);
        thresholds_ = values<std::uint32_t>(arrays, "thresholds", file);
        aliases_ = values<std::uint32_t>(arrays, "aliases", file);
        const auto classes = values<std::int64_t>(arrays, "component_class", file);
        std::int64_t most = -1;
        for (const std::int64_t number : classes) {
            most = std::max(most, number);
        }
        classes_ = static_cast<std::size_t>(most + 1);
        slots_ = thresholds_.size() / (1 + classes_);
        bool fits = !classes.empty() && shift_.size() == classes.size() * latent_dim && scale_.size() == shift_.size() &&
                    slots_ >= 2 && slots_ <= 65536 && std::has_single_bit(slots_) &&
                    thresholds_.size() == slots_ * (1 + classes_) && aliases_.size() == thresholds_.size();
        for (std::size_t place = 0; fits && place < thresholds_.size(); ++place) {
            fits = thresholds_[place] <= 65536 && (thresholds_[place] == 0 || place % slots_ < classes.size()) &&
                   (thresholds_[place] == 65536 || aliases_[place] < classes.size());
        }
        if (!fits) {
            throw std::runtime_error(file + ": its arrays do not fit together; copy the bundle again");
        }
    }

    /// Component of sample `index` of `seed`, by an alias table (Walker 1977). label: number of a class, or -1 for any.
    std::size_t component(std::uint64_t seed, std::uint64_t index, std::int64_t label = -1) const {
        if (label < -1 || label >= static_cast<std::int64_t>(classes_)) {
            throw std::runtime_error("class " + std::to_string(label) + " should be below " + std::to_string(classes_));
        }
        const Words counter{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 2};  // stream 2
        const std::uint32_t word =
            philox4x32(counter, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32))[0];
        const std::size_t slot = word >> (32 - std::countr_zero(slots_));
        const std::size_t place = static_cast<std::size_t>(label + 1) * slots_ + slot;
        return (word & 0xFFFF) < thresholds_[place] ? slot : aliases_[place];
    }

    /// Moves the noise of sample `index` of `seed` to the place of its component.
    std::vector<float> latents(std::vector<float> noise, std::uint64_t seed, std::uint64_t index,
                               std::int64_t label = -1) const {
        const std::size_t from = component(seed, index, label) * latent_dim_;
        for (std::size_t i = 0; i < latent_dim_; ++i) {
            noise[i] = (noise[i] + shift_[from + i]) * scale_[from + i];
        }
        return noise;
    }

private:
    using Arrays = std::map<std::string, std::string>;

    /// Name and bytes of each array of an uncompressed .npz. Little-endian machines only, as the file is.
    static Arrays read(const std::string& path) {
        static_assert(std::endian::native == std::endian::little);
        std::ifstream file(path, std::ios::binary);
        const std::string zip{std::istreambuf_iterator<char>(file), {}};
        Arrays arrays;
        std::size_t at = 0;
        while (at + 30 <= zip.size() && zip.compare(at, 4, "PK\x03\x04") == 0) {
            const std::size_t method = number<std::uint16_t>(zip, at + 8), size = number<std::uint32_t>(zip, at + 18);
            const std::size_t name = number<std::uint16_t>(zip, at + 26), extra = number<std::uint16_t>(zip, at + 28);
            const std::size_t start = at + 30 + name + extra;
            if (method != 0 || start + size > zip.size() || size < 10) {
                break;
            }
            const std::size_t header = 10 + number<std::uint16_t>(zip, start + 8);  // of a .npy of version 1
            if (header > size) {
                break;
            }
            arrays[zip.substr(at + 30, name)] = zip.substr(start + header, size - header);
            at = start + size;
        }
        return arrays;
    }

    template <typename T>
    static T number(const std::string& bytes, std::size_t at) {
        T value;
        std::memcpy(&value, bytes.data() + at, sizeof value);
        return value;
    }

    template <typename T>
    static std::vector<T> values(const Arrays& arrays, const std::string& name, const std::string& path) {
        const auto found = arrays.find(name + ".npy");
        if (found == arrays.end()) {
            throw std::runtime_error(path + ": cannot be read, or holds no " + name + "; copy the bundle again");
        }
        std::vector<T> out(found->second.size() / sizeof(T));
        std::memcpy(out.data(), found->second.data(), out.size() * sizeof(T));
        return out;
    }

    std::size_t latent_dim_, slots_ = 0, classes_ = 0;
    std::vector<float> shift_, scale_;
    std::vector<std::uint32_t> thresholds_, aliases_;
};

}  // namespace vae
