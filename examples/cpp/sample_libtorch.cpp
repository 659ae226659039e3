// Seed to picture with libtorch: sample_libtorch BUNDLE SEED INDEX OUTPUT.pgm [CLASS]
// CLASS is the number of a class, for bundles that can draw classes; without one, any. sampler.pt holds the noise and the
// decoder, so the host only passes numbers in and takes pixels out.
#include <torch/script.h>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "pnm.hpp"

int main(int argc, char** argv) try {
    if (argc != 5 && argc != 6) {
        std::fprintf(stderr, "usage: %s BUNDLE SEED INDEX OUTPUT.pgm [CLASS]\n", argv[0]);
        return 2;
    }
    const c10::InferenceMode no_gradients;
    torch::jit::Module sampler = torch::jit::load(std::string(argv[1]) + "/sampler.pt");
    const torch::Tensor seed = torch::tensor(static_cast<std::int64_t>(std::stoll(argv[2])), torch::kInt64);
    const torch::Tensor index = torch::tensor({static_cast<std::int64_t>(std::stoll(argv[3]))}, torch::kInt64);
    std::vector<c10::IValue> inputs{seed, index, torch::tensor(1.0f)};
    const bool labelled = sampler.get_method("forward").function().getSchema().arguments().size() == 5;  // with self
    if (labelled) {
        const std::int64_t label = argc == 6 ? std::stoll(argv[5]) : -1;
        inputs.push_back(torch::tensor({label}, torch::kInt64));
    } else if (argc == 6) {
        throw std::runtime_error(std::string(argv[1]) + ": draws no classes; leave CLASS out");
    }
    const torch::Tensor image = sampler.forward(inputs).toTensor()[0].contiguous();
    vae::write_pnm(argv[4], image.data_ptr<std::uint8_t>(), image.size(0), image.size(1), image.size(2));
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
