// Qwen3.5 and Qwen3.6, dense: three Gated DeltaNet layers, then one of gated full attention, and so on.
//     x += mixer(rms(x, attn_norm));  x += mlp(rms(x, post_attention_norm))
// Norm weights are stored as they multiply. The trailing multi-token-prediction layers (nextn_predict_layers) are not
// part of plain decoding and are left alone.
#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::model {
namespace {

struct DeltaNetSpec {
    std::size_t width = 0, key_heads = 0, value_heads = 0, dim = 0, conv_width = 0;
    float epsilon = 0;

    std::size_t channels() const { return (2 * key_heads + value_heads) * dim; }
    std::size_t value_width() const { return value_heads * dim; }
};

class DeltaNetBlock {
public:
    DeltaNetBlock(Loader& loader, const std::string& prefix, const DeltaNetSpec& spec)
        : spec_(spec), qkv_(loader.matrix(prefix + "attn_qkv.weight", spec.width, spec.channels())),
          z_(loader.matrix(prefix + "attn_gate.weight", spec.width, spec.value_width())),
          alpha_(loader.matrix(prefix + "ssm_alpha.weight", spec.width, spec.value_heads)),
          beta_(loader.matrix(prefix + "ssm_beta.weight", spec.width, spec.value_heads)),
          output_(loader.matrix(prefix + "ssm_out.weight", spec.value_width(), spec.width)),
          conv_(loader.vector(prefix + "ssm_conv1d.weight", spec.channels() * spec.conv_width)),
          a_(loader.vector(prefix + "ssm_a", spec.value_heads)),
          dt_bias_(loader.vector(prefix + "ssm_dt.bias", spec.value_heads)),
          norm_(loader.vector(prefix + "ssm_norm.weight", spec.dim)) {}

    cache::LayerShape shape() const {
        return cache::RecurrentShape{spec_.channels(), spec_.conv_width, spec_.value_heads, spec_.dim};
    }

    std::size_t scratch_width() const {
        return Workspace::padded(spec_.channels()) + 2 * Workspace::padded(spec_.value_width()) +
               2 * Workspace::padded(spec_.value_heads);
    }

    void run(Pass& pass, std::size_t layer, Tensor x, Tensor residual) const {
        const Workspace::Scope scope(pass.workspace);
        compute::DeltaNetArgs args;
        args.qkv = pass.workspace.tensor(spec_.channels());
        args.z = pass.workspace.tensor(spec_.value_width());
        args.alpha = pass.workspace.tensor(spec_.value_heads);
        args.beta = pass.workspace.tensor(spec_.value_heads);
        args.out = pass.workspace.tensor(spec_.value_width());
        const compute::Projection inputs[] = {{qkv_.get(), nullptr, args.qkv, false},
                                              {z_.get(), nullptr, args.z, false},
                                              {alpha_.get(), nullptr, args.alpha, false},
                                              {beta_.get(), nullptr, args.beta, false}};
        pass.device.project(x, inputs);
        args.conv = &conv_;
        args.a = &a_;
        args.dt_bias = &dt_bias_;
        args.norm = &norm_;
        args.epsilon = spec_.epsilon;
        args.key_heads = spec_.key_heads;
        args.value_heads = spec_.value_heads;
        args.dim = spec_.dim;
        args.conv_width = spec_.conv_width;
        args.cache = pass.cache.recurrent(layer);
        pass.device.delta_net(args);
        const compute::Projection output[] = {{output_.get(), nullptr, residual, true}};
        pass.device.project(args.out, output);
    }

private:
    DeltaNetSpec spec_;
    std::unique_ptr<compute::Matrix> qkv_, z_, alpha_, beta_, output_;
    compute::Vector conv_, a_, dt_bias_, norm_;
};

struct Qwen35Layer {
    compute::Vector mixer_norm, mlp_norm;
    std::variant<AttentionBlock, DeltaNetBlock> mixer;
    GatedMlp mlp;
};

DeltaNetSpec load_delta_net_spec(Loader& loader, std::size_t width, float epsilon) {
    DeltaNetSpec spec;
    spec.width = width;
    spec.key_heads = loader.size("ssm.group_count");
    spec.value_heads = loader.size("ssm.time_step_rank");
    spec.dim = loader.size("ssm.state_size");
    spec.conv_width = loader.size("ssm.conv_kernel");
    spec.epsilon = epsilon;
    if (spec.value_heads % spec.key_heads != 0) {
        loader.fail(ErrorKind::invalid_data, fmt::format("ssm.time_step_rank {} is no multiple of ssm.group_count {}",
                                                         spec.value_heads, spec.key_heads));
    }
    if (loader.size("ssm.inner_size") != spec.value_width()) {
        loader.fail(ErrorKind::unsupported, "ssm.inner_size is not time_step_rank * state_size: value heads of another "
                                            "size than key heads are not supported");
    }
    if (spec.conv_width < 2 || spec.conv_width > 8) {
        loader.fail(ErrorKind::unsupported, fmt::format("ssm.conv_kernel {} is not in 2..8", spec.conv_width));
    }
    return spec;
}

class Qwen35 final : public Model {
public:
    explicit Qwen35(Loader& loader) {
        const std::size_t width = loader.size("embedding_length"), heads = loader.size("attention.head_count");
        const std::size_t blocks = loader.size("block_count"), predictors = loader.size("nextn_predict_layers", 0);
        const std::size_t interval = loader.size("full_attention_interval", 4), inner = loader.size("feed_forward_length");
        epsilon_ = static_cast<float>(loader.number("attention.layer_norm_rms_epsilon"));
        if (predictors >= blocks) {
            loader.fail(ErrorKind::invalid_data, fmt::format("nextn_predict_layers {} leaves nothing of {} blocks",
                                                             predictors, blocks));
        }

        AttentionSpec attention;
        attention.width = width;
        attention.heads = heads;
        attention.kv_heads = loader.size("attention.head_count_kv", heads);
        attention.head_dim = loader.size("attention.key_length");
        attention.epsilon = epsilon_;
        attention.head_norms = true;
        attention.gated = true;
        rope_ = load_rope(loader, loader.size("rope.dimension_count", attention.head_dim), loader.number("rope.freq_base"),
                          false);
        attention.rope = &rope_;
        const DeltaNetSpec delta_net = load_delta_net_spec(loader, width, epsilon_);

        vocabulary_ = Vocabulary::load(loader, width, epsilon_);
        for (std::size_t i = 0; i + predictors < blocks && loader.status(); ++i) {
            const std::string prefix = fmt::format("blk.{}.", i);
            Qwen35Layer layer{loader.vector(prefix + "attn_norm.weight", width),
                              loader.vector(prefix + "post_attention_norm.weight", width), AttentionBlock{},
                              GatedMlp::load(loader, prefix, width, inner, compute::Activation::silu)};
            if ((i + 1) % interval == 0) layer.mixer = AttentionBlock::load(loader, prefix, attention);
            else layer.mixer = DeltaNetBlock(loader, prefix, delta_net);
            layers_.push_back(std::move(layer));
        }
    }

    std::vector<cache::LayerShape> layers() const override {
        std::vector<cache::LayerShape> shapes;
        for (const Qwen35Layer& layer : layers_) {
            shapes.push_back(std::visit([](const auto& mixer) { return mixer.shape(); }, layer.mixer));
        }
        return shapes;
    }

    std::size_t scratch_width() const override {
        std::size_t widest = 0;
        for (const Qwen35Layer& layer : layers_) {
            widest = std::max({widest, layer.mlp.scratch_width(),
                               std::visit([](const auto& mixer) { return mixer.scratch_width(); }, layer.mixer)});
        }
        return Workspace::padded(width()) + widest;
    }

private:
    void run_layer(Pass& pass, std::size_t index, Tensor x) const override {
        const Qwen35Layer& layer = layers_[index];
        const Workspace::Scope scope(pass.workspace);
        const Tensor h = pass.workspace.tensor(width());
        pass.device.rms_norm(x, layer.mixer_norm, epsilon_, h);
        if (const auto* attention = std::get_if<AttentionBlock>(&layer.mixer)) attention->run(pass, index, h, x, true);
        else std::get<DeltaNetBlock>(layer.mixer).run(pass, index, h, x);
        pass.device.rms_norm(x, layer.mlp_norm, epsilon_, h);
        layer.mlp.run(pass, h, x, true);
    }

    float epsilon_ = 0;
    compute::Rope rope_;
    std::vector<Qwen35Layer> layers_;
};

} // namespace

std::unique_ptr<Model> load_qwen35(Loader& loader) { return std::make_unique<Qwen35>(loader); }

} // namespace lucebox::model
