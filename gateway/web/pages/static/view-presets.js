// The windows among which a reader chooses: the frame's own with their explanations, those usual for CT, the whole range.

import { whole } from "./view-shade.js";
import { figure, t } from "./words.js";

const CT = { abdomen: [40, 400], lung: [-600, 1500], bone: [400, 1800], brain: [40, 80], mediastinum: [50, 350] };

// [{key, label, voi}]; a key means the same in every frame.
export function presets(frame) {
  const found = frame.about.presets.map((each, at) => ({ key: `own-${at}`, label: named(each), voi: each }));
  if (frame.about.modality === "CT" && frame.about.units === "HU") {
    for (const [name, [center, width]] of Object.entries(CT)) {
      const label = `${t(`view.preset.${name}`)} (${figure(center)}/${figure(width)})`;
      found.push({ key: name, label, voi: { center, width, function: "LINEAR" } });
    }
  }
  found.push({ key: "whole", label: t("view.preset.whole"), get voi() { return whole(frame); } });
  return found;
}

function named({ label, part, center, width }) {
  const size = part ? t("view.table") : `${figure(center)}/${figure(width)}`;
  return label ? `${label} (${size})` : size;
}
