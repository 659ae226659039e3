// probe_opencv BUNDLE TABLE L LATENTS IMAGES SEED... -- INDEX... -- LABEL...: writes raw latents and pixels, prints
// version and time.
#include <cstdio>
#include <filesystem>
#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>

#include "noise.hpp"
#include "prior.hpp"
#include "probe.hpp"

int main(int argc, char** argv) {
    cv::dnn::Net decoder = cv::dnn::readNetFromONNX(std::string(argv[1]) + "/decoder.onnx");
    const vae::Noise noise(argv[2]);
    const int latent_dim = std::stoi(argv[3]);
    const std::string file = std::string(argv[1]) + "/prior.npz";
    const bool fitted = std::filesystem::exists(file);
    const auto latents_of = [&](std::int64_t seed, std::int64_t index, std::int64_t label) {
        std::vector<float> z = noise.latents(seed, index, latent_dim);
        static const vae::Prior* const prior = fitted ? new vae::Prior(file, latent_dim) : nullptr;
        return prior ? prior->latents(z, seed, index, label) : z;
    };
    std::ofstream latents(argv[4], std::ios::binary), images(argv[5], std::ios::binary);
    const Numbers asked = numbers(argc, argv, 6);
    std::vector<std::uint8_t> pixels;
    const auto draw = [&](std::vector<float> z) {
        decoder.setInput(cv::Mat(1, latent_dim, CV_32F, z.data()));
        const cv::Mat image = decoder.forward();  // (1, C, H, W)
        const int channels = image.size[1], plane = image.size[2] * image.size[3];
        pixels.resize(image.total());
        for (int i = 0; i < channels * plane; ++i) {
            pixels[i % plane * channels + i / plane] = cv::saturate_cast<std::uint8_t>(image.ptr<float>()[i] * 255.0f);
        }
    };
    for (const std::int64_t seed : asked.seeds) {
        for (std::size_t i = 0; i < asked.indices.size(); ++i) {
            const std::vector<float> z = latents_of(seed, asked.indices[i], asked.labels.empty() ? -1 : asked.labels[i]);
            append(latents, z.data(), z.size());
            draw(z);
            append(images, pixels.data(), pixels.size());
        }
    }
    const double time = milliseconds([&](std::int64_t index) { draw(latents_of(0, index, -1)); });
    std::printf("{\"version\": \"OpenCV %s\", \"ms\": %.4f}\n", CV_VERSION, time);
}
