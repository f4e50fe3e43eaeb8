/**
 * How sure the model is, in words. The score is the model's own (the softmax of its output), so the words say how sure
 * it is, not how often it is right. `index.html` tells visitors the same thresholds.
 */
const WORDS = [
  [0.9, "very sure", "sure"],
  [0.6, "fairly sure", "fair"],
  [0.3, "not sure", "unsure"],
  [0, "a guess", "guess"],
];

/** The words, and the class that colours them. */
export function confidence(score) {
  const [, words, name] = WORDS.find(([least]) => score >= least) ?? WORDS.at(-1);
  return { words, name };
}
