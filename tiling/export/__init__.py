"""Results in the formats of other programs: QuPath, spreadsheets, TIFF viewers, slides for a talk."""
