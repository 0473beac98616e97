/* One call of `step` or `evaluate` (fused.c) on blocks of memory from standard input, which go back to standard output:
   the network, its layers, weights, gradients, images, labels, losses, correct, workspace, then each layer's means and variances. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { int64_t table[15]; double numbers[2]; void *means, *variances; } Layer; /* as in fused.c */
typedef struct { int64_t table[4]; void *layers, *weights, *gradients; } Network;

void step(const Network *, int64_t, int64_t, int64_t, void *, void *, void *, void *, void *);
void evaluate(const Network *, int64_t, int64_t, int64_t, void *, void *, void *, void *, void *);

int main(void) {
    int64_t call[5], size[1024]; /* whether it is a step, first, last, B, and how many blocks; bytes of each block */
    void *block[1024];
    if (fread(call, sizeof(int64_t), 5, stdin) != 5 || fread(size, sizeof(int64_t), call[4], stdin) != (size_t)call[4]) return 1;
    for (int64_t i = 0; i < call[4]; i++) {
        block[i] = aligned_alloc(64, size[i] / 64 * 64 + 64);
        if (fread(block[i], 1, size[i], stdin) != (size_t)size[i]) return 2;
    }
    Network *net = block[0];
    Layer *layers = block[1];
    net->layers = layers, net->weights = block[2], net->gradients = block[3];
    for (int64_t l = 0; l < net->table[0]; l++) layers[l].means = block[9 + 2 * l], layers[l].variances = block[10 + 2 * l];
    (call[0] ? step : evaluate)(net, call[1], call[2], call[3], block[4], block[5], block[6], block[7], block[8]);
    for (int64_t i = 2; i < call[4]; i++) fwrite(block[i], 1, size[i], stdout);
    return 0;
}
