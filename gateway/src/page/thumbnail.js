const SIDE = 96;
/** Characters of a data URL; a thumbnail that comes out larger is left out. */
const LONGEST = 24_000;

/** A small copy of a picture that has loaded, as a data URL; empty when it has none to show. */
export function thumbnail(picture) {
  const { naturalWidth: width, naturalHeight: height } = picture;
  if (!width || !height) return "";
  const scale = Math.min(1, SIDE / Math.min(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(SIDE, Math.max(1, Math.round(width * scale)));
  canvas.height = Math.min(SIDE, Math.max(1, Math.round(height * scale)));
  const [shownWidth, shownHeight] = [canvas.width / scale, canvas.height / scale];
  canvas.getContext("2d").drawImage(picture, (width - shownWidth) / 2, (height - shownHeight) / 2, shownWidth, shownHeight,
    0, 0, canvas.width, canvas.height);
  const url = canvas.toDataURL("image/webp", 0.75);
  return url.length <= LONGEST ? url : "";
}
