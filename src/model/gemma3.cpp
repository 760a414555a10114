// Gemma 3 (text):
//     x = sqrt(width) embedding
//     x += rms(attention(rms(x, attn_norm)), post_attention_norm)
//     x += rms(mlp(rms(x, ffn_norm)), post_ffw_norm)
// Five layers of six see a window of tokens and rotate with their own base; every sixth sees all. Query and key heads are
// normed; the gate is tanh-GELU; norm weights are stored as they multiply.
#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lucebox::model {
namespace {

constexpr std::size_t global_interval = 6;
constexpr std::size_t layers_of_27b = 62; // the one size whose query scale is not 1 / sqrt(head_dim)

struct Gemma3Layer {
    compute::Vector attention_norm, post_attention_norm, mlp_norm, post_mlp_norm;
    AttentionBlock attention;
    GatedMlp mlp;
};

class Gemma3 final : public Model {
public:
    explicit Gemma3(Loader& loader) {
        const std::size_t width = loader.size("embedding_length"), heads = loader.size("attention.head_count");
        const std::size_t count = loader.size("block_count"), inner = loader.size("feed_forward_length");
        epsilon_ = static_cast<float>(loader.number("attention.layer_norm_rms_epsilon"));

        AttentionSpec global;
        global.width = width;
        global.heads = heads;
        global.kv_heads = loader.size("attention.head_count_kv", heads);
        global.head_dim = loader.size("attention.key_length", 256);
        global.epsilon = epsilon_;
        global.head_norms = true;
        if (count == layers_of_27b) global.scale = 1 / std::sqrt(static_cast<float>(width / heads));
        global_rope_ = load_rope(loader, global.head_dim, loader.number("rope.freq_base", 1e6), false);
        global.rope = &global_rope_;

        AttentionSpec sliding = global;
        sliding.window = loader.size("attention.sliding_window");
        sliding_rope_ = plain_rope(global.head_dim, loader.number("rope.freq_base_swa", 1e4));
        sliding.rope = &sliding_rope_;

        vocabulary_ = Vocabulary::load(loader, width, epsilon_, std::sqrt(static_cast<float>(width)));
        for (std::size_t i = 0; i < count && loader.status(); ++i) {
            const std::string prefix = fmt::format("blk.{}.", i);
            const bool is_global = (i + 1) % global_interval == 0;
            const auto norm = [&](std::string_view name) { return loader.vector(fmt::format("{}{}.weight", prefix, name), width); };
            layers_.push_back({norm("attn_norm"), norm("post_attention_norm"), norm("ffn_norm"), norm("post_ffw_norm"),
                               AttentionBlock::load(loader, prefix, is_global ? global : sliding),
                               GatedMlp::load(loader, prefix, width, inner, compute::Activation::gelu_tanh)});
        }
    }

    std::vector<cache::LayerShape> layers() const override {
        std::vector<cache::LayerShape> shapes;
        for (const Gemma3Layer& layer : layers_) shapes.push_back(layer.attention.shape());
        return shapes;
    }

    std::size_t scratch_width() const override {
        const Gemma3Layer& layer = layers_.front();
        return 2 * Workspace::padded(width()) + std::max(layer.attention.scratch_width(), layer.mlp.scratch_width());
    }

private:
    void run_layer(Pass& pass, std::size_t index, Tensor x) const override {
        const Gemma3Layer& layer = layers_[index];
        const Workspace::Scope scope(pass.workspace);
        const Tensor h = pass.workspace.tensor(width()), y = pass.workspace.tensor(width());
        pass.device.rms_norm(x, layer.attention_norm, epsilon_, h);
        layer.attention.run(pass, index, h, y, false);
        pass.device.add_rms_norm(y, layer.post_attention_norm, epsilon_, x);
        pass.device.rms_norm(x, layer.mlp_norm, epsilon_, h);
        layer.mlp.run(pass, h, y, false);
        pass.device.add_rms_norm(y, layer.post_mlp_norm, epsilon_, x);
    }

    float epsilon_ = 0;
    compute::Rope global_rope_, sliding_rope_;
    std::vector<Gemma3Layer> layers_;
};

} // namespace

std::unique_ptr<Model> load_gemma3(Loader& loader) { return std::make_unique<Gemma3>(loader); }

} // namespace lucebox::model
