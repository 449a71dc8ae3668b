// The settings of new predictions, as the form of the page has them.

import { byId } from "./elements.js";

const FIELDS = ["model", "unit", "frame_step", "left_context", "right_context", "context", "track", "channel"];

/** Fields of a prediction; tiers are those of a file with turns. */
export function settings(hasTurns) {
  const fields = Object.fromEntries(FIELDS.map((name) => [name, byId(name).value]));
  const names = byId("tier").value.split(",").map((name) => name.trim());
  return { ...fields, embeddings: String(byId("embeddings").checked), tier: hasTurns ? names.filter(Boolean) : [] };
}
