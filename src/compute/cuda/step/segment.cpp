#include "compute/cuda/step/segment.h"

#include "compute/cuda/cuda_error.h"
#include "compute/cuda/delta_net/walk.h"
#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/matrix.h"
#include "compute/cuda/step/kernels.h"
#include "compute/gpu_memory.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace lucebox::compute::cuda {
namespace {

constexpr std::array widths{8, 16, 32, 64}; // rows that an instance multiplies at once
constexpr std::array stages{3, 4, 4, 2};    // of activations

// What blocks tell each other: the count of arrivals, counts of a row's blocks, sums of squares, those of norms that are
// applied later, in turns: four norms later nobody reads the first any more.
constexpr std::size_t counts_at = gpu_alignment;
constexpr std::size_t sums_at = counts_at + most_norms * most_rows * sizeof(std::uint32_t);
constexpr std::size_t squares_floats = most_rows * most_pieces;
constexpr int turns = 4;
constexpr std::size_t squares_at = sums_at + most_norms * squares_floats * sizeof(float);
constexpr std::size_t exchange_bytes = squares_at + turns * squares_floats * sizeof(Word);

step::Kernel instance(std::size_t width) {
    constexpr std::array by_width{step::kernel_8, step::kernel_16, step::kernel_32, step::kernel_64};
    return by_width[width]();
}
const void* symbol(std::size_t width) {
    return reinterpret_cast<const void*>(instance(width));
}

const PackedCudaMatrix& packed(const CudaMatrix* matrix) {
    return static_cast<const PackedCudaMatrix&>(*matrix);
}
StepProduct product_of(const CudaMatrix* matrix) {
    return {packed(matrix).form(), packed(matrix).units(), packed(matrix).tiles()};
}

// In the order in which they are multiplied. Few enough heads have blocks of their own while the last one is.
std::vector<StepProduct> products_of(const ProjectOperation& project, int blocks) {
    std::vector<StepProduct> products;
    for (std::size_t i = 0; i < project.count; ++i)
        products.push_back(product_of(project.targets[i].matrix));
    if (project.heads <= static_cast<std::size_t>(blocks) / 2) products.back().skip = static_cast<int>(project.heads);
    return products;
}

int pieces_of(std::size_t width) {
    return cuda::pieces_of(static_cast<int>(width));
}
bool marked(std::size_t rows) {
    return rows <= most_marked_rows;
}
// Of so many groups, or of a group's part for each of so many blocks.
std::size_t part_bytes(std::size_t rows, int groups) {
    return static_cast<std::size_t>(groups) * rows * group_outputs * (marked(rows) ? sizeof(Word) : sizeof(float));
}
bool is_wide(const MatmulTarget& target, int blocks) {
    return product_of(target.matrix).groups() > blocks && !target.accumulate && !target.bias;
}

} // namespace

bool StepKernel::Less::operator()(const Products& a, const Products& b) const {
    return std::ranges::lexicographical_compare(a, b, [](const StepProduct& x, const StepProduct& y) {
        return std::tie(x.form, x.units, x.tiles, x.skip) < std::tie(y.form, y.units, y.tiles, y.skip);
    });
}

Result<std::unique_ptr<StepKernel>> StepKernel::create(const Card& card, Memory& memory, cudaStream_t stream) {
    cudaFuncAttributes attributes{};
    // The empty kernel of other architectures is bounded to one warp. Blocks are counted in bytes (GroupParts).
    const bool here = cudaFuncGetAttributes(&attributes, symbol(0)) == cudaSuccess &&
                      attributes.maxThreadsPerBlock >= step::threads && card.processors < 256;
    cudaGetLastError();
    if (!here) return std::unique_ptr<StepKernel>();
    std::unique_ptr<StepKernel> kernel(new StepKernel(card, memory, stream));
    kernel->shared_room_ =
        card.shared_limit - static_cast<int>(attributes.sharedSizeBytes); // the same of all instances
    for (std::size_t i = 0; i < widths.size(); ++i) {
        LUCEBOX_CHECK(cuda_status(
            cudaFuncSetAttribute(symbol(i), cudaFuncAttributeMaxDynamicSharedMemorySize, kernel->shared_room_),
            "preparing kernels"));
    }
    LUCEBOX_TRY(kernel->exchange_, memory.allocate(exchange_bytes));
    LUCEBOX_CHECK(kernel->clear(kernel->exchange_));
    LUCEBOX_CHECK(kernel->trace_.open(memory));
    return Result<std::unique_ptr<StepKernel>>(std::move(kernel));
}

Status StepKernel::prepare(std::span<const CudaMatrix* const> matrices) {
    for (const CudaMatrix* matrix : matrices) {
        MatrixHeader header;
        LUCEBOX_CHECK(cuda_status(cudaMemcpy(&header, packed(matrix).header(), sizeof header, cudaMemcpyDeviceToHost),
                                  "loading weights"));
        scales_[matrix] = header.scale;
    }
    return Ok{};
}

bool StepKernel::takes(const Operation& operation, std::size_t sequences) {
    if (const auto* layer = std::get_if<DeltaNetOperation>(&operation)) {
        const DeltaNetArgs& args = layer->args;
        return sequences == 1 && args.qkv.rows <= most_head_rows && args.dim == head_dim && args.conv_width <= 4 && args.value_heads % args.key_heads == 0 &&
               args.value_heads / args.key_heads <= 3; // the kernels for more add up a head's squares in another order
    }
    if (const auto* norm = std::get_if<NormOperation>(&operation))
        return norm->x.width <= most_norm_width && norm->x.width % 4 == 0;
    return std::holds_alternative<ProjectOperation>(operation) || std::holds_alternative<GatedOperation>(operation);
}

Status StepKernel::plan(const Operation& operation, std::size_t rows) {
    Products products;
    int groups = 0; // that have room
    auto add = [&](const StepProduct& product, bool wide) { groups += blocks_ + (wide ? blocks_ : product.groups()); };
    if (const auto* project = std::get_if<ProjectOperation>(&operation)) {
        products = products_of(*project, blocks_);
        for (std::size_t i = 0; i < project->count; ++i)
            add(products[i], is_wide(project->targets[i], blocks_));
    } else if (const auto* gated = std::get_if<GatedOperation>(&operation)) {
        products = {product_of(gated->gate), product_of(gated->up)};
        for (const StepProduct& product : products)
            add(product, false);
    } else if (const auto* layer = std::get_if<DeltaNetOperation>(&operation)) {
        const std::size_t room =
            layer->args.value_heads * max_saved_states * head_dim * head_dim * sizeof(float);
        return saves_ && saves_->bytes() >= room ? Ok{} : replace(saves_, room);
    } else {
        return Ok{};
    }
    LUCEBOX_CHECK(plan_parts(marked_parts_, part_bytes(std::min<std::size_t>(rows, most_marked_rows), groups)));
    if (!marked(rows)) LUCEBOX_CHECK(plan_parts(parts_, part_bytes(rows, groups)));
    return plan_products(products);
}

Status StepKernel::replace(std::unique_ptr<Buffer>& buffer, std::size_t bytes) {
    if (buffer) LUCEBOX_CHECK(cuda_status(cudaStreamSynchronize(stream_), "preparing steps"));
    moved_ = moved_ || buffer;
    buffer.reset();
    LUCEBOX_TRY(buffer, memory_.allocate(bytes, true));
    return clear(buffer);
}

// No mark is zero.
Status StepKernel::clear(const std::unique_ptr<Buffer>& buffer) const {
    if (!buffer) return Ok{};
    return cuda_status(cudaMemsetAsync(buffer->data(), 0, buffer->bytes(), stream_), "preparing steps");
}

Status StepKernel::begin_step(std::uint32_t& number) {
    marks_used_ = 0;
    if (++number < std::uint32_t{1} << (32 - mark_bits)) return Ok{};
    number = 1;
    for (const auto* buffer : {&marked_parts_.memory, &exchange_})
        LUCEBOX_CHECK(clear(*buffer));
    return Ok{};
}

Status StepKernel::plan_parts(PartsRoom& room, std::size_t bytes) {
    if (bytes == 0 || (room.memory && room.bytes >= bytes)) return Ok{};
    room.bytes = bytes;
    return replace(room.memory, 2 * bytes);
}

std::size_t StepKernel::counts_of(const Operation& operation) {
    if (const auto* norm = std::get_if<NormOperation>(&operation))
        return static_cast<std::size_t>(pieces_of(norm->x.width));
    int counts = 0;
    if (const auto* project = std::get_if<ProjectOperation>(&operation)) {
        counts = pieces_of(project->x.width);
        for (std::size_t i = 0; i < project->count; ++i)
            counts += product_of(project->targets[i].matrix).groups() + pieces_of(project->targets[i].matrix->outputs());
    } else if (const auto* gated = std::get_if<GatedOperation>(&operation)) {
        counts = pieces_of(gated->x.width) + pieces_of(gated->gate->outputs()) + 2 * product_of(gated->gate).groups();
    } else if (const auto* layer = std::get_if<DeltaNetOperation>(&operation)) {
        counts = static_cast<int>(layer->args.value_heads + layer->args.key_heads);
    }
    return static_cast<std::size_t>(counts);
}

std::size_t StepKernel::marks_of(const Operation& operation) {
    const auto* project = std::get_if<ProjectOperation>(&operation);
    return project ? project->count : std::holds_alternative<GatedOperation>(operation) ? 3
                                                                                        : 1;
}

bool StepKernel::wide(const Operation& operation) const {
    const auto* project = std::get_if<ProjectOperation>(&operation);
    return project && std::ranges::any_of(std::span(project->targets).first(project->count),
                                          [&](const MatmulTarget& target) { return is_wide(target, blocks_); });
}

Status StepKernel::plan_counts(std::size_t counts) {
    if (counts_ && counts_->bytes() >= counts * sizeof(std::uint32_t)) return Ok{};
    return replace(counts_, std::max<std::size_t>(counts, 1) * sizeof(std::uint32_t));
}

void StepKernel::begin_program() {
    if (counts_) cudaMemsetAsync(counts_->data(), 0, counts_->bytes(), stream_);
    counts_used_ = 0;
}

std::uint32_t* StepKernel::take_counts(int count) const {
    std::uint32_t* const at = reinterpret_cast<std::uint32_t*>(counts_->data()) + counts_used_;
    counts_used_ += static_cast<std::size_t>(count);
    return at;
}

Status StepKernel::plan_products(const Products& products) {
    if (deals_.contains(products)) return Ok{};
    const std::vector<StepDeal> host = deal_steps(products, blocks_);
    std::vector<std::byte> table;
    std::vector<std::size_t> places;
    auto append = [&](const auto& values) {
        places.push_back(table.size());
        const auto bytes_of = std::as_bytes(std::span(values));
        table.insert(table.end(), bytes_of.begin(), bytes_of.end());
        table.resize((table.size() + 15) / 16 * 16);
    };
    for (const StepDeal& deal : host)
        append(deal.shares), append(deal.groups);
    Deal deal;
    LUCEBOX_TRY(deal.memory, memory_.allocate(table.size()));
    LUCEBOX_CHECK(cuda_status(cudaMemcpy(deal.memory->data(), table.data(), table.size(), cudaMemcpyHostToDevice),
                              "preparing steps"));
    for (std::size_t i = 0; i < host.size(); ++i) {
        deal.seats.push_back(host[i].seats);
        deal.shares.push_back(reinterpret_cast<const Share*>(deal.memory->data() + places[2 * i]));
        deal.groups.push_back(reinterpret_cast<const GroupParts*>(deal.memory->data() + places[2 * i + 1]));
    }
    deals_.emplace(products, std::move(deal));
    return Ok{};
}

std::uint32_t StepKernel::take_mark() const {
    return marks_used_++ % (1u << mark_bits);
}

void StepKernel::launch(StepSegment& segment) const {
    std::size_t width = 0;
    while (static_cast<std::uint32_t>(widths[width]) < segment.rows)
        ++width;
    segment.arrivals = reinterpret_cast<std::uint32_t*>(exchange_->data());
    segment.counts = reinterpret_cast<std::uint32_t*>(exchange_->data() + counts_at);
    segment.sums = reinterpret_cast<float*>(exchange_->data() + sums_at);
    segment.stages = stages[width];
    segment.under_way = step_tuning("LUCEBOX_STEP_AHEAD", 2);
    segment.slot_bytes = 1024;
    for (const Record& record : std::span(segment.record).first(static_cast<std::size_t>(segment.count))) {
        if (record.work == Work::multiply && step::streamed(record.form))
            segment.slot_bytes = std::max(segment.slot_bytes, std::min(record.tiles, group_tiles) * unit_bytes(record.form));
    }
    const auto room = static_cast<std::size_t>(shared_room_);
    auto bytes = [&](int slots) {
        return step::shared_bytes(widths[width], segment.stages, slots, segment.slot_bytes);
    };
    segment.slots = 1;
    while (segment.slots < step::most_slots && bytes(segment.slots + 1) <= room)
        ++segment.slots;
    segment.slots = std::min(segment.slots, step_tuning("LUCEBOX_STEP_SLOTS", step::most_slots));
    // Heads need the stages' memory, and slots there are enough.
    const bool heads = std::ranges::any_of(std::span(segment.record).first(static_cast<std::size_t>(segment.count)),
                                           [](const Record& record) { return record.work == Work::heads || record.work == Work::replay; });
    while (heads && segment.stages * step::stage_bytes(widths[width]) < step::head_memory_bytes(static_cast<int>(segment.rows))) {
        ++segment.stages;
        while (segment.slots > 1 && bytes(segment.slots) > room)
            --segment.slots;
    }
    while (segment.stages < step::most_stages &&
           bytes(segment.slots) + static_cast<std::size_t>(step::stage_bytes(widths[width])) <= room) {
        ++segment.stages;
    }
    trace_.attach(segment, blocks_);
    cuda::launch(instance(width), dim3(static_cast<unsigned>(blocks_)), dim3(step::threads), bytes(segment.slots),
                 stream_, segment);
}

void SegmentBuilder::add(const Operation& operation, bool f32_wanted, bool here_only) {
    if (const auto* a_norm = std::get_if<NormOperation>(&operation))
        norm(*a_norm, f32_wanted, here_only);
    else if (const auto* projection = std::get_if<ProjectOperation>(&operation))
        project(*projection, here_only);
    else if (const auto* gated_projection = std::get_if<GatedOperation>(&operation))
        gated(*gated_projection);
    else if (const auto* layer = std::get_if<DeltaNetOperation>(&operation))
        delta_net(*layer, f32_wanted);
}

void SegmentBuilder::launch() {
    settle();
    if (by_rows_) border(); // blocks that share rows part there
    for (int i = 0; i < segment_.count; ++i)
        segment_.seats[i] = seats_of(segment_.record[i]);
    if (segment_.count > 0) kernel_.launch(segment_);
    segment_.count = 0;
    products_ = turns_ = layers_ = 0;
    counted_.clear();
    by_rows_ = false;
    kept_ = nullptr;
    for (auto& [operand, made] : made_)
        made.ready = nullptr; // what a launch has written is there for the next one
}

Record& SegmentBuilder::append(const Record& record) {
    by_rows_ = record.work >= Work::finish_row;
    if (!by_rows_) kept_ = nullptr;
    return segment_.record[segment_.count++] = record;
}

// Who has any of a record, as the kernel deals it out.
Seats SegmentBuilder::seats_of(const Record& record) const {
    if (record.sync) return {};
    const int blocks = kernel_.blocks_;
    const auto seats = [&](int first, int count) {
        if (count >= blocks) return Seats{};
        return Seats{static_cast<std::uint8_t>(first % blocks), static_cast<std::uint8_t>(count)};
    };
    switch (record.work) {
    case Work::multiply: return record.seats;
    case Work::replay:
    case Work::heads: {
        const delta::Params& layer = segment_.heads[record.product].layer;
        return seats(0, layer.value_heads + (record.work == Work::heads ? layer.key_heads : 0));
    }
    case Work::finish:
    case Work::gate:
    case Work::convert: { // pieces of rows, the last blocks first
        const int turns = static_cast<int>((segment_.rows + step::consumer_warps - 1) / step::consumer_warps);
        const int items = cuda::pieces_of(record.outputs) * turns;
        return seats(2 * blocks - items % blocks + (segment_.rows > 1 ? record.first_block : 0), items);
    }
    default: return {};
    }
}

// What follows needs all that was appended.
void SegmentBuilder::border() {
    if (segment_.count > 0) segment_.record[segment_.count - 1].sync = true;
}

void SegmentBuilder::make_room(int records, int products) {
    const int waiting = static_cast<int>(unfinished_.size());
    if (segment_.count + waiting + records > most_records || products_ + products > most_products) {
        launch();
    }
}

Record SegmentBuilder::finish(const Unfinished& product, Work work) const {
    Record record;
    record.work = work;
    record.accumulate = product.target.accumulate;
    record.outputs = static_cast<std::int32_t>(product.target.matrix->outputs());
    record.parts = product.parts;
    record.scale = product.scale;
    record.vector = product.target.bias;
    record.out = product.target.out;
    return record;
}

// Completes the sums of the last products.
void SegmentBuilder::settle(bool counted) {
    const int turns = static_cast<int>((segment_.rows + step::consumer_warps - 1) / step::consumer_warps);
    int first_warp = 0, items = 0;
    for (const Unfinished& product : unfinished_) {
        Record record = finish(product, Work::finish);
        record.first_warp = static_cast<std::uint8_t>(first_warp);
        record.first_block = static_cast<std::uint8_t>((kernel_.blocks_ - items % kernel_.blocks_) % kernel_.blocks_);
        first_warp = (first_warp + step::consumer_warps / 4 + 1) % step::consumer_warps;
        items += pieces_of(product.target.matrix->outputs()) * turns;
        if (counted) {
            record.ready = kernel_.take_counts(pieces_of(product.target.matrix->outputs()));
            counted_[product.target.out] = record.ready;
        }
        append(record);
    }
    unfinished_.clear();
}

const std::byte* SegmentBuilder::operand_of(Tensor x) {
    if (const std::byte* known = operands_.find(x)) return known;
    settle();
    border();
    Record record;
    record.work = Work::convert;
    record.outputs = static_cast<std::int32_t>(x.width);
    record.in = x.data;
    make_operand(record, x, {});
    return append(record).operand;
}

// Room for the operand that a record by pieces is about to write, and counts of it.
std::byte* SegmentBuilder::make_operand(Record& record, Tensor x, RowScale scale) {
    record.operand = operands_.claim(x);
    record.ready = kernel_.take_counts(pieces_of(x.width));
    made_[record.operand] = {scale, record.ready, segment_.rows, turns_};
    return record.operand;
}

RowScale SegmentBuilder::scale_of(const std::byte* operand) const {
    const auto made = made_.find(operand);
    return made == made_.end() ? RowScale{} : made->second.scale;
}

std::vector<Record> SegmentBuilder::multiply(const std::byte* operand, std::span<const CudaMatrix* const> matrices,
                                             const std::vector<StepProduct>& products, std::span<float* const> wide_results) {
    // An operand that was made of all of the last product's parts says, piece by piece, that it is there. Else all wait.
    const auto made = made_.find(operand);
    std::uint32_t* const ready =
        made != made_.end() && made->second.behind == turns_ ? made->second.ready : nullptr;
    if (!ready) border();
    const StepKernel::Deal& deal = kernel_.deals_.at(products);
    std::vector<Record> all;
    const StepKernel::PartsRoom& parts_room = marked(segment_.rows) ? kernel_.marked_parts_ : kernel_.parts_;
    std::byte* room = parts_room.memory->data() + (turns_++ % 2) * parts_room.bytes;
    for (std::size_t i = 0; i < matrices.size(); ++i) {
        const PackedCudaMatrix& matrix = packed(matrices[i]);
        Parts parts;
        parts.base = room;
        parts.wide = wide_results[i];
        room += part_bytes(segment_.rows, parts.wide ? kernel_.blocks_ : products[i].groups());
        parts.extra = room;
        room += part_bytes(segment_.rows, kernel_.blocks_);
        parts.groups = deal.groups[i];
        parts.index = kernel_.take_mark();
        if (!marked(segment_.rows)) parts.done = kernel_.take_counts(products[i].groups());
        Record record;
        record.work = Work::multiply;
        record.form = matrix.form();
        record.seats = deal.seats[i];
        record.outputs = static_cast<std::int32_t>(matrix.outputs());
        record.units = matrix.units();
        record.tiles = matrix.tiles();
        record.number = kernel_.scales_.at(matrices[i]);
        record.parts = parts;
        record.weights = matrix.units_at();
        record.shares = deal.shares[i];
        record.operand = const_cast<std::byte*>(operand);
        record.out = wide_results[i];
        record.ready = ready;
        record.whole_piece = ready ? made->second.whole_piece : 0;
        record.product = static_cast<std::uint8_t>(products_++);
        all.push_back(record);
    }
    return all;
}

// The norm of a product's result that only products of this run read: a matter of its finish and of theirs.
bool SegmentBuilder::norm_in_finish(const NormOperation& o) {
    if (o.add || unfinished_.size() != 1 || unfinished_.front().target.out != o.x.data) return false;
    Record record = finish(unfinished_.front(), Work::finish);
    unfinished_.clear();
    auto* const all = reinterpret_cast<Word*>(kernel_.exchange_->data() + squares_at);
    record.squares = all + static_cast<std::size_t>(scales_++ % turns) * squares_floats;
    record.index = kernel_.take_mark();
    record.weight = o.weight;
    make_operand(record, o.out, {record.squares, record.index, static_cast<std::int32_t>(o.x.width), o.epsilon});
    append(record);
    return true;
}

void SegmentBuilder::norm(const NormOperation& o, bool f32_wanted, bool here_only) {
    make_room(2, 0);
    if (here_only && !f32_wanted && norm_in_finish(o)) return;
    if (unfinished_.size() == 1 && unfinished_.front().target.out == o.x.data) {
        border();
        norms_ = 0;
        append(finish(unfinished_.front(), Work::finish_row));
        unfinished_.clear();
        kept_ = o.x.data;
    } else {
        settle();
    }
    if (!by_rows_) {
        border();
        norms_ = 0;
    } else if (norms_ == most_norms) {
        launch();
        norms_ = 0;
    }
    ++norms_;
    Record record;
    record.work = o.add ? Work::add_norm : Work::norm;
    record.held = kept_ == o.x.data;
    record.outputs = static_cast<std::int32_t>(o.x.width);
    record.number = o.epsilon;
    record.vector = o.weight;
    record.in = o.x.data;
    if (o.add) {
        operands_.written(o.out.data);
    } else {
        record.operand = operands_.claim(o.out);
        made_.erase(record.operand);
    }
    if (o.add || f32_wanted) record.out = o.out.data;
    append(record);
    kept_ = o.add ? o.out.data : o.x.data;
}

void SegmentBuilder::project(const ProjectOperation& o, bool heads_follow) {
    make_room(static_cast<int>(2 * o.count) + 1, static_cast<int>(o.count));
    const std::byte* const operand = operand_of(o.x);
    settle();
    std::vector<const CudaMatrix*> matrices;
    std::vector<float*> wide_results;
    for (std::size_t i = 0; i < o.count; ++i) {
        operands_.written(o.targets[i].out);
        matrices.push_back(o.targets[i].matrix);
        wide_results.push_back(is_wide(o.targets[i], kernel_.blocks_) ? o.targets[i].out : nullptr);
    }
    const std::vector<Record> products = multiply(operand, matrices, products_of(o, kernel_.blocks_), wide_results);
    for (std::size_t i = 0; i < o.count; ++i) {
        if (heads_follow && i + 1 == o.count) settle(true); // what heads begin with
        append(products[i]);
        unfinished_.push_back({products[i].parts, o.targets[i], scale_of(operand)});
    }
}

void SegmentBuilder::gated(const GatedOperation& o) {
    make_room(4, 2);
    const std::byte* const operand = operand_of(o.x);
    settle();
    counted_.clear();
    const std::array matrices{o.gate, o.up};
    const std::vector<Record> products = multiply(operand, matrices, {product_of(o.gate), product_of(o.up)}, std::array<float*, 2>{});
    for (const Record& product : products)
        append(product);
    Record record;
    record.work = Work::gate;
    record.activation = o.activation;
    record.outputs = static_cast<std::int32_t>(o.gate->outputs());
    record.parts = products[0].parts;
    record.up = products[1].parts;
    record.scale = scale_of(operand);
    make_operand(record, o.out, {});
    append(record);
}

HeadsRecord SegmentBuilder::heads_of(const DeltaNetArgs& args) const {
    HeadsRecord heads;
    heads.layer = delta::make_params(args, block_.state(), block_.sequences(), block_.rows());
    heads.rows = segment_.rows;
    heads.layer.saves = reinterpret_cast<float*>(kernel_.saves_->data());
    return heads;
}

void SegmentBuilder::replay(const DeltaNetOperation& o) {
    if (replayed_ == o.args.cache.state) return;
    make_room(1, 0);
    if (by_rows_) border(); // blocks that share rows part there
    if (layers_ == most_layers) launch();
    replayed_ = o.args.cache.state;
    Record record;
    record.work = Work::replay;
    record.product = static_cast<std::uint8_t>(layers_);
    segment_.heads[layers_++] = heads_of(o.args);
    append(record);
}

// One sequence's heads, which wait for what the products before have left.
void SegmentBuilder::delta_net(const DeltaNetOperation& o, bool f32_wanted) {
    const DeltaNetArgs& args = o.args;
    replay(o);
    replayed_ = nullptr;
    make_room(1, 0);
    if (layers_ == most_layers) launch();
    settle(true);
    HeadsRecord heads = heads_of(args);
    const auto counts_of = [&](Tensor x) {
        const auto known = counted_.find(x.data);
        return known == counted_.end() ? nullptr : known->second;
    };
    heads.qkv_ready = counts_of(args.qkv), heads.z_ready = counts_of(args.z);
    heads.alpha_ready = counts_of(args.alpha), heads.beta_ready = counts_of(args.beta);
    const bool all = heads.qkv_ready && heads.z_ready && heads.alpha_ready && heads.beta_ready;
    if (!all) {
        heads.qkv_ready = nullptr;
        border();
    }
    Record record;
    record.work = Work::heads;
    record.outputs = static_cast<std::int32_t>(args.out.width);
    record.product = static_cast<std::uint8_t>(layers_);
    make_operand(record, args.out, {});
    made_[record.operand].whole_piece = 2; // a head's rows; and what is kept of its inputs
    if (!all) made_[record.operand].behind = -1;
    heads.read = kernel_.take_counts(static_cast<int>(args.key_heads));
    heads.layer.operand = record.operand;
    heads.layer.operand_rows = segment_.rows;
    heads.layer.write_out = f32_wanted;
    segment_.heads[layers_++] = heads;
    append(record);
}

} // namespace lucebox::compute::cuda
