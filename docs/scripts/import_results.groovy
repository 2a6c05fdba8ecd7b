/*
 * QuPath 0.4 or newer: brings the results of a night into a project, as locked annotations with classes and colours.
 *
 *   wsss-tile run slides/ --out results --export geojson
 *
 * Set the folder below, open the project that holds the slides, and run this once (Run, not "Run for project"); or
 *
 *   QuPath script import_results.groovy --project project.qpproj --args results
 *
 * An image gets the file <slide_id>.geojson whose slide_id is its name, with or without an ending. Run again, it brings
 * only what is new: a region keeps its identity as long as its result is the same. Research use only, not for diagnosis.
 */
import qupath.lib.io.PathIO
import static qupath.lib.scripting.QP.getProject

String results = "/path/to/results"

if (binding.hasVariable("args") && args)
    results = args[0]
def folder = new File(results)
if (!folder.isDirectory())
    throw new IllegalArgumentException("${folder} is no folder; set 'results' to the --out folder of a run")
def project = getProject()
if (project == null)
    throw new IllegalStateException("Open the project that holds the slides first")

def files = [:]
folder.eachFile { file ->
    if (file.name.endsWith(".geojson"))
        files[file.name.substring(0, file.name.length() - ".geojson".length())] = file
}

// "a.svs", "a.ome.tif" and "a.svs - Series 1" are all results of "a"; what is closest to the name goes first.
def resultOf = { String name ->
    def stem = name.split(" - ")[0]
    while (!files.containsKey(stem) && stem.contains("."))
        stem = stem.substring(0, stem.lastIndexOf("."))
    return files.get(files.containsKey(name) ? name : stem)
}

int images = 0
for (entry in project.getImageList()) {
    def file = resultOf(entry.getImageName())
    if (file == null) {
        println "${entry.getImageName()}: no result in ${folder}"
        continue
    }
    def imageData = entry.readImageData()
    try {
        def hierarchy = imageData.getHierarchy()
        def known = hierarchy.getAnnotationObjects().collect { it.getID() } as Set
        def fresh = PathIO.readObjects(file).findAll { !known.contains(it.getID()) }
        hierarchy.addObjects(fresh)
        entry.saveImageData(imageData)
        println "${entry.getImageName()}: ${fresh.size()} regions from ${file.name}"
        images++
    } finally {
        imageData.getServer().close()
    }
}
println "${images} of ${project.getImageList().size()} images have a result; open an image anew to see it"
