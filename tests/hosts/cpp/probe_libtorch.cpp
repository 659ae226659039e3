// probe_libtorch sampler.pt LATENTS IMAGES SEED... -- INDEX... -- LABEL...: writes raw latents and pixels, prints version and time.
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
    const auto with_labels = [](std::vector<c10::IValue> inputs, std::vector<std::int64_t> labels) {
        if (!labels.empty()) {
            inputs.push_back(torch::tensor(labels, torch::kInt64));
        }
        return inputs;
    };
    for (const std::int64_t number : asked.seeds) {
        const torch::Tensor seed = torch::tensor(number, torch::kInt64);
        const torch::Tensor z = sampler.get_method("latents")(with_labels({seed, indices}, asked.labels)).toTensor().contiguous();
        const torch::Tensor image = sampler.forward(with_labels({seed, indices, temperature}, asked.labels)).toTensor().contiguous();
        append(latents, z.data_ptr<float>(), z.numel());
        append(images, image.data_ptr<std::uint8_t>(), image.numel());
    }
    const double time = milliseconds([&](std::int64_t index) {
        const std::vector<std::int64_t> any(asked.labels.empty() ? 0 : 1, -1);
        const torch::Tensor seed = torch::tensor(std::int64_t{0}, torch::kInt64);
        sampler.forward(with_labels({seed, torch::tensor({index}, torch::kInt64), temperature}, any));
    });
    std::printf("{\"version\": \"libtorch %s\", \"ms\": %.4f}\n", TORCH_VERSION, time);
}
