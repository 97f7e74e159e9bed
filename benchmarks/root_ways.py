"""Two ways to make the matrix with ROOT: one Define for each cell, and one optimised C++ loop.

Both follow tailshard's convention "thesis", so that all contestants compute the same cells:
row 0 transverse masses, column 0 and the lower triangle 0.15 (cosh(...) - 1), diagonal transverse mass of
the leading object of a type and imbalances of pT after it, upper triangle invariant masses in GeV.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .data import COMPONENTS, COUNTS, SIZE, TYPES

_CELLS = r"""
#include <ROOT/RVec.hxx>
#include <TLorentzVector.h>
#include <cmath>

// One cell of one event, from TLorentzVectors made anew for it.
namespace cells {
using F = const ROOT::RVecF &;

inline TLorentzVector vector_of(F pt, F eta, F phi, F mass, unsigned k) {
  TLorentzVector v;
  v.SetPtEtaPhiM(pt[k], eta[k], phi[k], mass[k]);
  return v;
}
inline float transverse_mass(F pt, F eta, F phi, F mass, unsigned k) {
  return pt.size() > k ? vector_of(pt, eta, phi, mass, k).Mt() : 0;
}
inline float boost(F pt, F eta, F phi, F mass, unsigned k) {
  return pt.size() > k ? 0.15 * (std::cosh(vector_of(pt, eta, phi, mass, k).Rapidity()) - 1) : 0;
}
inline float imbalance(F pt, F eta, F phi, F mass, unsigned k) {
  if (pt.size() <= k) return 0;
  double one = vector_of(pt, eta, phi, mass, k - 1).Pt(), other = vector_of(pt, eta, phi, mass, k).Pt();
  return (one - other) / (one + other);
}
inline float mass(F pt1, F eta1, F phi1, F m1, unsigned k1, F pt2, F eta2, F phi2, F m2, unsigned k2) {
  if (pt1.size() <= k1 || pt2.size() <= k2) return 0;
  return (vector_of(pt1, eta1, phi1, m1, k1) + vector_of(pt2, eta2, phi2, m2, k2)).M();
}
inline float angle(F pt1, F eta1, F phi1, F m1, unsigned k1, F pt2, F eta2, F phi2, F m2, unsigned k2) {
  if (pt1.size() <= k1 || pt2.size() <= k2) return 0;
  double y1 = vector_of(pt1, eta1, phi1, m1, k1).Rapidity();
  double y2 = vector_of(pt2, eta2, phi2, m2, k2).Rapidity();
  return 0.15 * (std::cosh((y1 - y2) / 2) - 1);
}
}
"""

_LOOP = r"""
#include <ROOT/RDataFrame.hxx>
#include <ROOT/RVec.hxx>
#include <TROOT.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

// The matrix of one event in one function: momenta once for each object, no cosh, cos or exp for a pair.
namespace loop {
using F = const ROOT::RVecF &;
constexpr unsigned counts[4] = {6, 6, 5, 5}, first[4] = {1, 7, 13, 18}, size = 23;

struct Event {
  unsigned n = 0, row[22];
  double pt[22], px[22], py[22], m2[22], mt[22], up[22], down[22];
  bool leading[22];

  void add(unsigned type, unsigned k, double p, double eta, double phi, double mass) {
    double signed_m2 = mass * std::abs(mass), mt2 = p * p + signed_m2;
    if (!(mt2 > 0)) { signed_m2 = 0; mt2 = p * p; }
    double pz = std::abs(p * std::sinh(eta)), t = std::sqrt(mt2), e = std::sqrt(mt2 + pz * pz);
    double a = std::sqrt(std::sqrt((e + pz) / t)), b = 1 / a;
    row[n] = first[type] + k; leading[n] = k == 0;
    pt[n] = p; px[n] = p * std::cos(phi); py[n] = p * std::sin(phi); m2[n] = signed_m2; mt[n] = t;
    up[n] = eta >= 0 ? a : b; down[n] = eta >= 0 ? b : a;
    ++n;
  }
  void write(double met, float *out) const {
    std::memset(out, 0, sizeof(float) * size * size);
    out[0] = met;
    for (unsigned i = 0; i < n; ++i) {
      const unsigned r = row[i];
      out[r] = mt[i];
      double s = up[i] * up[i] - down[i] * down[i];
      out[r * size] = 0.15 * s * s / 2;
      out[r * size + r] = leading[i] ? mt[i] : (pt[i - 1] - pt[i]) / (pt[i - 1] + pt[i]);
      for (unsigned j = 0; j < i; ++j) {
        double d = up[i] * down[j] - down[i] * up[j], h = d * d / 2, c = 1 + 2 * h * (h + 2);
        double q = m2[i] + m2[j] + 2 * (mt[i] * mt[j] * c - px[i] * px[j] - py[i] * py[j]);
        out[r * size + row[j]] = 0.15 * h;
        out[row[j] * size + r] = std::copysign(std::sqrt(std::abs(q)), q);
      }
    }
  }
};

inline void fill(Event &event, unsigned type, F pt, F eta, F phi, F mass) {
  for (unsigned k = 0; k < std::min<size_t>(pt.size(), counts[type]); ++k)
    event.add(type, k, pt[k], eta[k], phi[k], mass[k]);
}

// objects.root -> a buffer of (events, 23, 23).
void from_objects(const std::string &file, std::uintptr_t address) {
  float *out = reinterpret_cast<float *>(address);
  std::vector<std::string> columns{"rdfentry_", "met"};
  for (auto type : {"light_jets", "b_jets", "electrons", "muons"})
    for (auto part : {"pt", "eta", "phi", "mass"}) columns.push_back(std::string(type) + "_" + part);
  ROOT::RDataFrame("events", file).Foreach(
    [out](ULong64_t entry, float met, F a, F b, F c, F d, F e, F f, F g, F h,
          F i, F j, F k, F l, F m, F n, F o, F p) {
      Event event;
      fill(event, 0, a, b, c, d); fill(event, 1, e, f, g, h);
      fill(event, 2, i, j, k, l); fill(event, 3, m, n, o, p);
      event.write(met, out + entry * size * size);
    }, columns);
}

// An ntuple of the 2025 release -> one matrix, with tailshard's default cuts on objects.
struct Candidate { float pt, eta, phi, mass; };
inline ROOT::RVecF from_ntuple(float met, F lp, F le, F lf, F lE,
                               const ROOT::RVecI &type, const ROOT::RVecB &tight,
                               F jp, F je, F jf, F jE, const ROOT::RVecI &tag, const ROOT::RVecB &jvt) {
  std::vector<Candidate> kept[4];
  auto keep = [&kept](unsigned to, float pt, float eta, float phi, float energy) {
    double p = pt * std::cosh(double(eta)), m2 = (energy - p) * (energy + p);
    kept[to].push_back({pt, eta, phi, float(std::copysign(std::sqrt(std::abs(m2)), m2))});
  };
  for (unsigned k = 0; k < jp.size(); ++k)
    if (jp[k] >= 20 && std::abs(je[k]) <= 2.5 && jvt[k])
      keep(tag[k] >= 4 ? 1 : 0, jp[k], je[k], jf[k], jE[k]);
  for (unsigned k = 0; k < lp.size(); ++k)
    if (lp[k] >= 7 && tight[k] && std::abs(le[k]) <= (type[k] == 11 ? 2.47 : 2.7))
      keep(type[k] == 11 ? 2 : 3, lp[k], le[k], lf[k], lE[k]);
  Event event;
  for (unsigned t = 0; t < 4; ++t) {
    std::stable_sort(kept[t].begin(), kept[t].end(), [](auto &a, auto &b) { return a.pt > b.pt; });
    for (unsigned k = 0; k < std::min<size_t>(kept[t].size(), counts[t]); ++k)
      event.add(t, k, kept[t][k].pt, kept[t][k].eta, kept[t][k].phi, kept[t][k].mass);
  }
  ROOT::RVecF out(size * size);
  event.write(met, out.data());
  return out;
}
}
"""

NTUPLE_COLUMNS = (
    "met",
    *(f"lep_{part}" for part in ("pt", "eta", "phi", "e", "type", "isTightID")),
    *(f"jet_{part}" for part in ("pt", "eta", "phi", "e", "btag_quantile", "jvt")),
)


def declare_cells() -> Any:
    """Load ROOT and the functions that `cell_expressions` call."""
    import ROOT

    ROOT.gInterpreter.Declare(_CELLS)
    return ROOT


def declare_loop() -> Any:
    """Load ROOT and the optimised loop: compiled by the system's compiler, or by cling where there is none.

    Returns
    -------
    The module ROOT, with the namespace `loop` in it.
    """
    import ROOT

    with TemporaryDirectory() as folder:
        source = Path(folder) / "tailshard_loop.C"
        source.write_text(_LOOP, encoding="utf-8")
        ROOT.gSystem.SetFlagsOpt("-O3 -march=native -ffast-math")
        if ROOT.gSystem.CompileMacro(str(source), "O") != 1:
            ROOT.gInterpreter.Declare("#pragma cling optimize(3)\n" + _LOOP)
    return ROOT


def cell_expressions() -> Iterator[tuple[str, str]]:
    """Name and C++ expression of each of the 529 cells."""
    rows = [("", 0), *((name, k) for name, count in zip(TYPES, COUNTS, strict=True) for k in range(count))]

    def arguments(row: int) -> str:
        name, k = rows[row]
        return ", ".join([*(f"{name}_{part}" for part in COMPONENTS), str(k)])

    for i in range(SIZE):
        for j in range(SIZE):
            if i == j == 0:
                what = "met"
            elif i == 0:
                what = f"cells::transverse_mass({arguments(j)})"
            elif j == 0:
                what = f"cells::boost({arguments(i)})"
            elif i == j:
                what = f"cells::{'imbalance' if rows[i][1] else 'transverse_mass'}({arguments(i)})"
            else:
                what = f"cells::{'mass' if i < j else 'angle'}({arguments(i)}, {arguments(j)})"
            yield f"cell_{i}_{j}", what
