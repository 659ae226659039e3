// What the probes share: SEED... -- INDEX... -- LABEL... on the command line, raw bytes into files, and the time of one draw.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

struct Numbers {
    std::vector<std::int64_t> seeds, indices, labels;  // labels: none, or one for each index
};

/// From argv[first] on.
inline Numbers numbers(int argc, char** argv, int first) {
    Numbers out;
    std::vector<std::int64_t>* list[] = {&out.seeds, &out.indices, &out.labels};
    int at = 0;
    for (int i = first; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--") {
            ++at;
        } else {
            list[at]->push_back(std::stoll(word));
        }
    }
    return out;
}

template <typename T>
void append(std::ofstream& file, const T* data, std::size_t count) {
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(count * sizeof(T)));
}

/// Median milliseconds of draw(index), warm.
template <typename Draw>
double milliseconds(Draw draw) {
    std::vector<double> times;
    for (int i = 0; i < 220; ++i) {
        const auto start = std::chrono::steady_clock::now();
        draw(i);
        const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
        if (i >= 20) {
            times.push_back(spent.count());
        }
    }
    std::nth_element(times.begin(), times.begin() + 100, times.end());
    return times[100];
}
