/* Batches of images: gathered, cropped, mirrored and normalised in one pass. */
#include <stdint.h>
#include <string.h>

enum { BYTES = 16384 }; /* of rows that are cropped at a time, which stay in the first cache */

/* Batches of S replicas: of images (N, C, H, W) those that `order` (S, places) has from `start` to `stop`, each cropped to (h, w)
   from its row `top` and column `left` on, mirrored where `mirrored` says so, all (S, places) too, and (x - shift) * scale by
   channel: y (S, stop - start, C, h, w). */
void gather(int64_t S, int64_t places, int64_t start, int64_t stop, int64_t C, int64_t H, int64_t W, int64_t h, int64_t w,
            const uint8_t *images, const int64_t *order, const int64_t *top, const int64_t *left, const uint8_t *mirrored,
            const float *shift, const float *scale, float *y) {
    for (int64_t s = 0; s < S; s++)
        for (int64_t i = s * places + start; i < s * places + stop; i++)
            for (int64_t c = 0; c < C; c++) {
                const uint8_t *x = images + ((order[i] * C + c) * H + top[i]) * W + left[i];
                if (i + 1 < s * places + stop)
                    for (int64_t ahead = 0; ahead < h * W; ahead += 64)
                        __builtin_prefetch(images + ((order[i + 1] * C + c) * H + top[i + 1]) * W + ahead);
                uint8_t cropped[BYTES]; /* as many rows at a time as it has room for */
                for (int64_t row = 0, rows; row < h; row += rows, y += rows * w) {
                    rows = h - row < BYTES / w ? h - row : BYTES / w;
                    const uint8_t *run = w == W && !(mirrored && mirrored[i]) ? x + row * W : cropped;
                    for (int64_t r = 0; r < rows && run == cropped; r++)
                        if (mirrored && mirrored[i])
                            for (int64_t j = 0; j < w; j++) cropped[r * w + j] = x[(row + r) * W + w - 1 - j];
                        else
                            memcpy(cropped + r * w, x + (row + r) * W, w);
                    const float a = shift[c], b = scale[c];
                    for (int64_t j = 0; j < rows * w; j++) y[j] = ((float)run[j] - a) * b;
                }
            }
}
