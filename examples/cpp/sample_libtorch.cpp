// Seed to picture with libtorch: sample_libtorch BUNDLE SEED INDEX OUTPUT.pgm
// sampler.pt holds the noise and the decoder, so the host only passes numbers in and takes pixels out.
#include <torch/script.h>

#include <cstdio>
#include <exception>
#include <string>

#include "pnm.hpp"

int main(int argc, char** argv) try {
    if (argc != 5) {
        std::fprintf(stderr, "usage: %s BUNDLE SEED INDEX OUTPUT.pgm\n", argv[0]);
        return 2;
    }
    const c10::InferenceMode no_gradients;
    torch::jit::Module sampler = torch::jit::load(std::string(argv[1]) + "/sampler.pt");
    const torch::Tensor seed = torch::tensor(static_cast<std::int64_t>(std::stoll(argv[2])), torch::kInt64);
    const torch::Tensor index = torch::tensor({static_cast<std::int64_t>(std::stoll(argv[3]))}, torch::kInt64);
    const torch::Tensor image = sampler.forward({seed, index, torch::tensor(1.0f)}).toTensor()[0].contiguous();
    vae::write_pnm(argv[4], image.data_ptr<std::uint8_t>(), image.size(0), image.size(1), image.size(2));
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
