// A dot product that follows the machine, and a cache of plans that must be made anew when it
// changes.
//
//     c++ -O2 dot.cc -lisahotplug -o dot && ./dot
//
// Prints a result for each line of its input and a line for each event.
//
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include <immintrin.h>

#include <isahotplug.hpp>

namespace {

float dot_plain(const float *x, const float *y, std::size_t count)
{
    float sum = 0;
    for (std::size_t i = 0; i < count; i++)
        sum += x[i] * y[i];
    return sum;
}

__attribute__((target("avx2,fma"))) float dot_avx2(const float *x, const float *y, std::size_t count)
{
    __m256 sums = _mm256_setzero_ps();
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8)
        sums = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i), sums);
    float lanes[8], sum = 0;
    _mm256_storeu_ps(lanes, sums);
    for (float lane : lanes)
        sum += lane;
    for (; i < count; i++)
        sum += x[i] * y[i];
    return sum;
}

// Any constructor may call it: it is there from the beginning.
isahotplug::slot<float(const float *, const float *, std::size_t)> dot{
    "dot", dot_plain, {dot_avx2, "avx2 fma", "avx2"}};

// What a library keeps that depends on the path: here only its name.
class plans {
public:
    void renew(const isahotplug::features &available)
    {
        const std::lock_guard<std::mutex> guard(lock_);
        path_ = available.contains(isahotplug::features("avx2 fma")) ? "avx2" : "plain";
    }
    std::string path() const
    {
        const std::lock_guard<std::mutex> guard(lock_);
        return path_;
    }

private:
    mutable std::mutex lock_;
    std::string path_ = "plain";
};

} // namespace

int main()
{
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    plans kept;
    // In this order: the registration ends before what it refers to, and before the library does.
    const isahotplug::library library;
    isahotplug::registering how;
    how.flags = ISAHP_EAGER | ISAHP_INITIAL;
    const isahotplug::registration events("avx2 fma", [&kept](const isahp_event &event) {
        kept.renew(event.available);
        std::printf("event generation=%llu path=%s\n",
                    static_cast<unsigned long long>(event.generation), kept.path().c_str());
        // Calls of dot() are short, and what runs after a loss is finished by the #UD handler. A
        // library that must not be emulated calls it in sections, or asks for time here.
        return isahotplug::answer::left();
    }, how);
    if (!library || !events) {
        std::fprintf(stderr, "isahotplug: %s\n", isahotplug::error_message().c_str());
        return 2;
    }
    std::vector<float> x(100), y(100);
    for (std::size_t i = 0; i < x.size(); i++) {
        x[i] = static_cast<float>(i);
        y[i] = static_cast<float>(i % 7);
    }
    while (std::getchar() != EOF)
        std::printf("dot=%.0f\n", static_cast<double>(dot(x.data(), y.data(), x.size())));
    return 0;
}
