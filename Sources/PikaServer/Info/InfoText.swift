/// Builds INFO's text: headings and `name:value` lines that end in CR LF.
struct InfoText {
    private(set) var text = ""

    mutating func heading(_ title: String) {
        text += "# " + title + "\r\n"
    }

    mutating func line(_ name: String, _ value: String) {
        text += name + ":" + value + "\r\n"
    }

    mutating func line(_ name: String, _ value: some BinaryInteger) {
        line(name, String(value))
    }

    /// A number with two decimals.
    mutating func line(_ name: String, decimal value: Double) {
        line(name, InfoText.decimal(value))
    }

    /// A size in bytes, and once more in MiB, as Pika prints it.
    mutating func size(_ name: String, _ bytes: Int) {
        line(name, bytes)
        line(name + "_human", "\(bytes >> 20)M")
    }

    mutating func raw(_ line: String) {
        text += line + "\r\n"
    }

    mutating func blank() {
        text += "\r\n"
    }

    /// A number with two decimals, without the cost and the locale of a format string.
    static func decimal(_ value: Double) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "0.00" }
        let hundredths = Int((abs(value) * 100).rounded())
        let fraction = hundredths % 100
        return (value < 0 && hundredths > 0 ? "-" : "") + "\(hundredths / 100)."
            + (fraction < 10 ? "0" : "") + "\(fraction)"
    }
}
