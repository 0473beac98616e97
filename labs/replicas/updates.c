/* Updates of torch's Adam, AdamW and SGD, for the float32 parameters of a network as one vector. */
#include <math.h>
#include <stdint.h>

/* Adam, or AdamW where `decoupled`, on P parameters w with gradients g and moments m and v; `count` is how many steps there were. */
void adam(int64_t P, float *w, const float *g, float *m, float *v, float *count, double lr, double beta1, double beta2, double eps,
          double weight_decay, int64_t decoupled) {
    const double t = *count += 1;
    const float size = (float)(lr / (1 - pow(beta1, t))), correction = (float)(1 / sqrt(1 - pow(beta2, t))), e = (float)eps;
    const float decay = decoupled ? 0 : (float)weight_decay, keep = decoupled ? (float)(1 - lr * weight_decay) : 1;
    const float b1 = (float)(1 - beta1), b2 = (float)(1 - beta2), c2 = (float)beta2;
    for (int64_t i = 0; i < P; i++) {
        const float p = w[i] * keep, d = g[i] + p * decay;
        m[i] += b1 * (d - m[i]);
        v[i] = c2 * v[i] + b2 * d * d;
        w[i] = p - size * m[i] / (sqrtf(v[i]) * correction + e);
    }
}

/* SGD on P parameters w with gradients g and, if there is momentum, the buffer m, which must have been begun. */
void sgd(int64_t P, float *w, const float *g, float *m, double lr, double momentum, double damped, double weight_decay,
         int64_t nesterov) {
    const float size = (float)lr, decay = (float)weight_decay, keep = (float)momentum, take = (float)(1 - damped);
    for (int64_t i = 0; i < P; i++) {
        const float d = g[i] + w[i] * decay;
        if (m) m[i] = keep * m[i] + take * d;
        w[i] -= size * (!m ? d : nesterov ? d + keep * m[i] : m[i]);
    }
}
