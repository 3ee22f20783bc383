"""The steps of cleaning, one file each: broken encodings, HTML, repeated lines, personal data, labels, languages, lengths. `septet.data.clean` puts those of texts in order."""
