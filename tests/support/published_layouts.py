"""Label files and image folders of the exact shape in which five sets are published, filled with noise.

Shapes by their public descriptions: NIH ChestX-ray14, CheXpert, MIMIC-CXR-LT, PadChest, Open Images.
"""

import csv

import numpy as np
from PIL import Image

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
FINDINGS = ("Atelectasis", "Cardiomegaly", "Effusion", "Pleural_Thickening", "No Finding")
CHEXPERT = ("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Edema", "Support Devices")
MIMIC = ("Atelectasis", "Cardiomegaly", "Pneumothorax", "Pneumoperitoneum", "Tortuous Aorta")
PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,BitsStored_DICOM,Rows_DICOM,Columns_DICOM,ReportID,"
    "Report,MethodLabel,Labels,Localizations,LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS"
)
PADCHEST = ("cardiomegaly", "pleural effusion", "kyphosis", "normal")
MACHINE_IDS = {"/m/04hgtk": "Human head", "/m/0k4j": "Car", "/m/0138tl": "Toy", "/m/01g317": "Person"}


def save(path, seed, *, bits=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 2**bits, (48, 48) if bits > 8 else (48, 48, 3))
    Image.fromarray(pixels.astype(np.uint16 if bits > 8 else np.uint8)).save(path)


def draw(generator, classes):
    """Some of the classes, one at least."""
    return [classes[i] for i in sorted(generator.permutation(len(classes))[: generator.integers(1, 3)])]


def write_rows(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        file.write(header + "\n")
        csv.writer(file, lineterminator="\n").writerows(rows)


def nih(folder, number=45):
    """`Data_Entry_2017.csv`, images in numbered folders, and two lists by patient."""
    generator, rows, lists = np.random.default_rng(0), [], {"train_val": [], "test": []}
    for i in range(number):
        patient, follow = divmod(i, 3)
        name = f"{patient + 1:08d}_{follow:03d}.png"
        save(folder / f"images_{1 + i // 20:03d}" / "images" / name, i)
        names = "|".join(draw(generator, FINDINGS))
        rows.append([name, names, follow, patient + 1, 58, "M", "PA", 2682, 2749, 0.143, 0.143, ""])
        lists["test" if patient % 3 == 2 else "train_val"].append(name)
    write_rows(folder / "Data_Entry_2017.csv", NIH_HEADER, rows)
    for kind, names in lists.items():
        (folder / f"{kind}_list.txt").write_text("\n".join(names))
    return {"labels": [folder / "Data_Entry_2017.csv"], "images": folder, "options": [
        "--split-list", f"train={folder}/train_val_list.txt", "--split-list", f"test={folder}/test_list.txt",
        "--group-column", "Patient ID",
    ]}  # fmt: skip


def chexpert(folder, number=42):
    """`train.csv` with -1 and blanks, `valid.csv` without; paths begin above the folder that has both."""
    generator, root = np.random.default_rng(1), folder / "CheXpert-v1.0-small"
    header = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT))
    for split, count in (("train", number), ("valid", number // 3)):
        rows = []
        for i in range(count):
            patient = i // 2 + 1000 * (split == "valid")
            name = f"CheXpert-v1.0-small/{split}/patient{patient:05d}/study1/view{i % 2 + 1}_frontal.jpg"
            save(folder / name, i)
            cells = generator.choice(["", "0.0", "1.0", "-1.0"] if split == "train" else ["0.0", "1.0"], len(CHEXPERT))
            cells[i % len(CHEXPERT)] = "1.0"
            rows.append([name, "Female", 40 + i % 50, "Frontal", "AP", *cells])
        write_rows(root / f"{split}.csv", header, rows)
    return {"labels": [f"train={root}/train.csv", f"test={root}/valid.csv"], "images": root, "options": [
        "--uncertain", "mask", "--blank", "zeros", "--group-pattern", "patient[0-9]+",
    ]}  # fmt: skip


def mimic(folder, number=60):
    """One file of ids, paths and 0/1 per class."""
    generator, rows = np.random.default_rng(2), []
    for i in range(number):
        subject = 10000000 + i // 2
        path = f"files/p{str(subject)[:2]}/p{subject}/s{50000000 + i}/d{i:05d}.jpg"
        save(folder / path, i)
        held = draw(generator, MIMIC)
        rows.append([subject, 50000000 + i, f"d{i:05d}", path, *(int(name in held) for name in MIMIC)])
    write_rows(folder / "labels.csv", ",".join(("subject_id", "study_id", "dicom_id", "path", *MIMIC)), rows)
    return {"labels": [folder / "labels.csv"], "images": folder, "options": ["--group-column", "subject_id"]}


def padchest(folder, number=60):
    """Lists as Python writes them, an index without a name, images of 12 bits in 16 in numbered folders."""
    generator, rows = np.random.default_rng(3), []
    for i in range(number):
        name = f"{20536686640136348236 + i}_k6ga29.png"
        save(folder / str(i % 5) / name, i, bits=12)
        names = draw(generator, PADCHEST)
        listed = str([f" {names[0]}", *names[1:], "" if i % 2 else names[0]])
        patient = f"8481567{i // 2:03d}"
        about = [20140915, f"2053{i}", patient, 1930.0, "F", "", "PA", "Manual review of DICOM fields", "No", "CR"]
        stored = ["ImagingDynamicsCompanyLtd", 12, 48, 48, 4765777 + i, "sin hallazgos", "Physician"]
        places = ["['loc right', 'loc left']", "[['loc right']]", "['C0034069' 'C0742362']", "['C0444532']"]
        rows.append([i, name, i % 5, *about, *stored, listed, *places])
    write_rows(folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", PADCHEST_HEADER, rows)
    return {"labels": [folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"], "images": folder, "options": [
        "--group-column", "PatientID",
    ]}  # fmt: skip


def open_images(folder, number=42):
    """Verified labels alone, a row each, classes by machine ids; other labels of an image are not known."""
    generator, labels = np.random.default_rng(4), []
    for split, count in (("train", number), ("validation", number // 3), ("test", number // 3)):
        rows = []
        for i in range(count):
            name = f"{split[:2].encode().hex()}{i:012x}"
            save(folder / split / f"{name}.jpg", i)
            some = generator.permutation(list(MACHINE_IDS))[: generator.integers(1, 4)]
            rows += [[name, "verification", one, int(k == 0 or generator.random() < 0.4)] for k, one in enumerate(some)]
        path = folder / f"{split}-annotations-human-imagelabels.csv"
        write_rows(path, "ImageID,Source,LabelName,Confidence", rows)
        labels.append(f"{split}={path}")
    write_rows(folder / "class-descriptions.csv", "/m/011k07,Tortoise", MACHINE_IDS.items())
    return {"labels": labels, "images": folder, "options": [
        "--blank", "mask", "--class-names", folder / "class-descriptions.csv",
    ]}  # fmt: skip


LAYOUTS = {"nih": nih, "chexpert": chexpert, "mimic": mimic, "padchest": padchest, "open-images": open_images}
