// Seed to picture with OpenCV's DNN module, no PyTorch anywhere: sample_opencv BUNDLE TABLE SEED INDEX OUTPUT.pgm [CLASS]
// decoder.onnx turns latents into a picture; the latents come from noise.hpp and prior.hpp, since OpenCV has no 64-bit
// integers. CLASS is the number of a class, for bundles that can draw classes; without one, any.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>
#include <regex>
#include <string>

#include "noise.hpp"
#include "pnm.hpp"
#include "prior.hpp"

/// OpenCV's own JSON reader stops at a null, and one number is all that is needed.
int latent_dim(const std::string& manifest) {
    std::ifstream file(manifest);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    std::smatch found;
    if (!std::regex_search(text, found, std::regex("\"latent_dim\": *([0-9]+)"))) {
        throw std::runtime_error(manifest + ": names no latent_dim; is this the folder of a bundle?");
    }
    return std::stoi(found[1]);
}

int main(int argc, char** argv) try {
    if (argc != 6 && argc != 7) {
        std::fprintf(stderr, "usage: %s BUNDLE normal_table_v1.f32 SEED INDEX OUTPUT.pgm [CLASS]\n", argv[0]);
        return 2;
    }
    const std::string bundle = argv[1];
    const vae::Noise noise(argv[2]);
    const std::uint64_t seed = std::stoull(argv[3]), index = std::stoull(argv[4]);
    const int size = latent_dim(bundle + "/manifest.json");
    std::vector<float> z = noise.latents(seed, index, size);
    if (std::filesystem::exists(bundle + "/prior.npz")) {
        z = vae::Prior(bundle + "/prior.npz", size).latents(z, seed, index, argc == 7 ? std::stoll(argv[6]) : -1);
    } else if (argc == 7) {
        throw std::runtime_error(bundle + ": draws no classes; leave CLASS out");
    }

    cv::dnn::Net decoder = cv::dnn::readNetFromONNX(bundle + "/decoder.onnx");
    decoder.setInput(cv::Mat(1, static_cast<int>(z.size()), CV_32F, z.data()));
    const cv::Mat image = decoder.forward();  // (1, channels, height, width) in [0, 1]

    const int channels = image.size[1], height = image.size[2], width = image.size[3];
    std::vector<std::uint8_t> pixels(image.total());
    for (int c = 0, from = 0; c < channels; ++c) {
        for (int at = 0; at < height * width; ++at, ++from) {
            pixels[at * channels + c] = cv::saturate_cast<std::uint8_t>(image.ptr<float>()[from] * 255.0f);
        }
    }
    vae::write_pnm(argv[5], pixels.data(), height, width, channels);
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
