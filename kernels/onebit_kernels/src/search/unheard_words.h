// Where the attention decoder does not find the end of a text it reads on from somewhere, with words that CTC has no
// frames for.
#pragma once

#include <cstddef>
#include <span>

#include "ctc_lattice.h"
#include "ctc_spelling.h"

namespace onebit {

// How many pieces of a text CTC has heard, from its alignment of the whole and that one's log-probability: all, or fewer
// where the text is so much likelier without its last words that these were not only misheard.
std::size_t heard_pieces(std::span<const int> pieces, const SpelledText& text, const CtcSpelling& spelling,
                         const CtcLattice& lattice, float likelihood);

}  // namespace onebit
