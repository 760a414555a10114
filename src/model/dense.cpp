#include "model/dense.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::model {
namespace {

struct DenseLayer {
    compute::Vector attention_norm, mlp_norm;
    AttentionBlock attention;
    GatedMlp mlp;
};

class DenseModel final : public Model {
public:
    DenseModel(Loader& loader, const DenseVariant& variant) {
        const std::size_t width = loader.size("embedding_length"), heads = loader.size("attention.head_count");
        epsilon_ = static_cast<float>(loader.number("attention.layer_norm_rms_epsilon"));

        AttentionSpec attention;
        attention.width = width;
        attention.heads = heads;
        attention.kv_heads = loader.size("attention.head_count_kv", heads);
        attention.head_dim = loader.size("attention.key_length", width / std::max<std::size_t>(heads, 1));
        attention.epsilon = epsilon_;
        attention.head_norms = variant.head_norms;
        rope_ = load_rope(loader, loader.size("rope.dimension_count", attention.head_dim),
                          loader.number("rope.freq_base", 10000), variant.adjacent_pairs);
        attention.rope = &rope_;

        vocabulary_ = Vocabulary::load(loader, width, epsilon_);
        const std::size_t inner = loader.size("feed_forward_length"), count = loader.size("block_count");
        for (std::size_t i = 0; i < count && loader.status(); ++i) {
            const std::string prefix = fmt::format("blk.{}.", i);
            layers_.push_back({loader.vector(prefix + "attn_norm.weight", width),
                               loader.vector(prefix + "ffn_norm.weight", width),
                               AttentionBlock::load(loader, prefix, attention),
                               GatedMlp::load(loader, prefix, width, inner, compute::Activation::silu)});
        }
    }

    std::vector<cache::LayerShape> layers() const override {
        std::vector<cache::LayerShape> shapes;
        for (const DenseLayer& layer : layers_) shapes.push_back(layer.attention.shape());
        return shapes;
    }

    std::size_t scratch_width() const override {
        const DenseLayer& layer = layers_.front();
        return Workspace::padded(width()) + std::max(layer.attention.scratch_width(), layer.mlp.scratch_width());
    }

private:
    void run_layer(Pass& pass, std::size_t index, Tensor x) const override {
        const DenseLayer& layer = layers_[index];
        const Workspace::Scope scope(pass.workspace);
        const Tensor h = pass.workspace.tensor(width());
        pass.device.rms_norm(x, layer.attention_norm, epsilon_, h);
        layer.attention.run(pass, index, h, x, true);
        pass.device.rms_norm(x, layer.mlp_norm, epsilon_, h);
        layer.mlp.run(pass, h, x, true);
    }

    float epsilon_ = 0;
    compute::Rope rope_;
    std::vector<DenseLayer> layers_;
};

} // namespace

std::unique_ptr<Model> load_dense(Loader& loader, const DenseVariant& variant) {
    return std::make_unique<DenseModel>(loader, variant);
}

} // namespace lucebox::model
