// probe_libtorch sampler.pt LATENTS IMAGES SEED... -- INDEX...: writes raw latents and pixels, prints version and time.
#include <torch/script.h>
#include <torch/version.h>

#include <cstdio>

#include "probe.hpp"

int main(int argc, char** argv) {
    const c10::InferenceMode no_gradients;
    torch::jit::Module sampler = torch::jit::load(argv[1]);
    std::ofstream latents(argv[2], std::ios::binary), images(argv[3], std::ios::binary);
    const Numbers asked = numbers(argc, argv, 4);
    const torch::Tensor indices = torch::tensor(asked.indices, torch::kInt64);
    const torch::Tensor temperature = torch::tensor(1.0f);
    for (const std::int64_t number : asked.seeds) {
        const torch::Tensor seed = torch::tensor(number, torch::kInt64);
        const torch::Tensor z = sampler.get_method("latents")({seed, indices}).toTensor().contiguous();
        const torch::Tensor image = sampler.forward({seed, indices, temperature}).toTensor().contiguous();
        append(latents, z.data_ptr<float>(), z.numel());
        append(images, image.data_ptr<std::uint8_t>(), image.numel());
    }
    const double time = milliseconds([&](std::int64_t index) {
        sampler.forward({torch::tensor(std::int64_t{0}, torch::kInt64), torch::tensor({index}, torch::kInt64), temperature});
    });
    std::printf("{\"version\": \"libtorch %s\", \"ms\": %.4f}\n", TORCH_VERSION, time);
}
