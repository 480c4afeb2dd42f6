// Writes the section `atoll.files`: the comments `//# ...` of the sources, a line each.
import { Transform } from "assemblyscript/transform";

export default class Files extends Transform {
  afterParse(parser) {
    this.lines = "";
    for (const source of parser.sources) {
      for (const line of source.text.split("\n")) {
        if (line.startsWith("//# ")) this.lines += line.slice(4).trimEnd() + "\n";
      }
    }
  }

  afterCompile(module) {
    if (this.lines !== "") {
      module.addCustomSection("atoll.files", new TextEncoder().encode(this.lines));
    }
  }
}
